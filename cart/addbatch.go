package cart

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/queue"
)

// A cart is counted under locks when it has nearLimit lines, or when a batch makes more than maxUnseen new ones: what
// instances add without, and without seeing each other's, does not bring it past MaxLines with up to 30 of them.
const (
	nearLimit = MaxLines / 2
	maxUnseen = 8
)

// errNothingToWrite ends a transaction whose answers stand, and that has nothing to commit.
var errNothingToWrite = errors.New("nothing to write")

// An addBatch is a batch of adds in one transaction.
//
// It adds first, which locks the lines, and judges then: what it reads is what its commit builds on, and the
// common case costs one round trip less than looking first. What is refused is taken back before the commit.
type addBatch struct {
	lines    *Lines
	stock    stock
	present  func(error) (int, []byte)
	jobs     []Addition
	answers  []queue.Answer[struct{}]
	lookOnly bool // judge as if the lines were added, without adding them

	// What follows is made anew by each run.
	live    []int                // jobs to be judged, in order
	repeats map[int]int          // jobs whose key an earlier job of the batch has
	after   map[lineKey]int64    // the lines as the jobs make them
	stored  []idempotency.Record // answers to store
	stamp   idempotency.Stamp    // when they were stored
}

func (b *addBatch) transact(ctx context.Context, db *database.DB) error {
	err := db.Transact(ctx,
		func(tx *database.Tx) error { return b.run(ctx, tx) },
		func(tx *database.Tx) (bool, error) { return b.landed(ctx, tx) })
	if errors.Is(err, errNothingToWrite) {
		err = nil
	}
	if err == nil {
		b.answerRepeats()
	}
	return err
}

func (b *addBatch) run(ctx context.Context, tx *database.Tx) error {
	clear(b.answers)
	b.live, b.stored = b.live[:0], nil
	if err := b.recall(ctx, tx); err != nil {
		return err
	}
	if err := b.leaveTaken(ctx, tx); err != nil {
		return err
	}
	if len(b.live) == 0 {
		return errNothingToWrite
	}
	wanted := b.wanted()
	stored, stock, err := b.store(ctx, tx, wanted)
	if err != nil {
		return err
	}
	refused, err := b.judge(ctx, tx, wanted, stored, stock)
	if err != nil {
		return err
	}
	b.collectAnswers()
	if len(refused) == len(b.live) && len(b.stored) == 0 {
		return errNothingToWrite
	}
	if err := b.takeBack(ctx, tx, refused); err != nil {
		return err
	}
	if len(b.stored) > 0 {
		b.stamp, err = idempotency.Store(ctx, tx, b.stored)
	}
	return err
}

// recall answers the jobs whose key is known, and leaves the others live.
func (b *addBatch) recall(ctx context.Context, tx *database.Tx) error {
	requests := make([]idempotency.Request, len(b.jobs))
	for i, job := range b.jobs {
		requests[i] = job.request()
	}
	recalled, err := idempotency.Recall(ctx, tx, requests)
	if err != nil {
		return err
	}
	b.repeats = recalled.Repeats
	for i := range b.jobs {
		if answer, known := recalled.Known[i]; known {
			b.answers[i].Err = answer
		} else if _, repeat := recalled.Repeats[i]; !repeat {
			b.live = append(b.live, i)
		}
	}
	return nil
}

// leaveTaken refuses the jobs whose cart or key someone else keeps locked, where that is known or suspected.
func (b *addBatch) leaveTaken(ctx context.Context, tx *database.Tx) error {
	clients := make([]string, 0, len(b.live))
	var keys []idempotency.Key
	for _, i := range b.live {
		clients = append(clients, b.jobs[i].ClientID)
		if key := b.jobs[i].request().Key; !key.None() {
			keys = append(keys, key)
		}
	}
	taken, err := b.lines.TakenOf(ctx, tx, clients, keys)
	if err != nil {
		return err
	}
	b.refuse(taken)
	return nil
}

// refuse answers the live jobs of some clients that their cart is locked.
func (b *addBatch) refuse(clients map[string]bool) {
	b.live = slices.DeleteFunc(b.live, func(i int) bool {
		if !clients[b.jobs[i].ClientID] {
			return false
		}
		b.answers[i].Err = fmt.Errorf("%w: the cart", database.ErrRowLocked)
		return true
	})
}

// wanted returns what the live jobs add, line by line.
func (b *addBatch) wanted() []ClientLine {
	lines := make([]ClientLine, 0, len(b.live))
	for _, i := range b.live {
		lines = append(lines, b.jobs[i].line())
	}
	return mergeLines(lines)
}

func (a Addition) line() ClientLine {
	return ClientLine{a.ClientID, inventory.Line{ProductID: a.ProductID, Quantity: a.Quantity}}
}

// store adds the lines, where that is not left for later, and returns them as they are stored, and the stock of their products.
func (b *addBatch) store(ctx context.Context, tx *database.Tx, wanted []ClientLine) (map[lineKey]storedLine, *inventory.Stock, error) {
	products := make([]string, 0, len(wanted))
	for _, line := range wanted {
		products = append(products, line.ProductID)
	}
	batch := tx.Batch()
	var stored map[lineKey]storedLine
	if b.lookOnly {
		stored = selectLines(batch, wanted)
	} else {
		stored = addLines(batch, wanted)
	}
	stock := b.stock.Check(batch, products)
	if err := batch.Send(ctx); err != nil {
		return nil, nil, fmt.Errorf("add to cart lines: %w", err)
	}
	return stored, stock, nil
}

// judge decides the live jobs in turn and returns those that it refused.
func (b *addBatch) judge(
	ctx context.Context, tx *database.Tx, wanted []ClientLine, stored map[lineKey]storedLine, stock *inventory.Stock,
) (refused []int, err error) {
	lines := make(map[lineKey]int64, len(wanted)) // as they were before, then as the jobs in turn make them
	counts := make(map[string]int, len(wanted))   // likewise, of each cart
	b.after = lines
	fresh := make(map[string]int) // lines that the batch made, of each cart
	for _, line := range wanted {
		before := stored[line.key()]
		if !b.lookOnly {
			before.quantity -= line.Quantity
			if before.quantity <= 0 {
				fresh[line.ClientID]++
			}
		}
		lines[line.key()] = before.quantity
		counts[line.ClientID] = before.lines
	}
	var crowded []string
	for _, line := range wanted {
		if counts[line.ClientID] >= nearLimit || fresh[line.ClientID] > maxUnseen {
			crowded = append(crowded, line.ClientID)
		}
	}
	if len(crowded) > 0 {
		exact, err := countLines(ctx, tx, slices.Compact(crowded), tx.ForUpdate())
		if err != nil {
			return nil, err
		}
		for client, count := range exact {
			counts[client] = count
		}
	}
	for client, made := range fresh {
		counts[client] -= made // counted only because they were added above
	}

	for _, i := range b.live {
		job := b.jobs[i]
		key := job.line().key()
		level, exists := stock.Level(job.ProductID)
		before := lines[key]
		switch after := before + job.Quantity; {
		case !exists:
			b.answers[i].Err = &inventory.NoProductError{ProductID: job.ProductID}
		case before <= 0 && counts[job.ClientID] >= MaxLines:
			b.answers[i].Err = ErrTooManyLines
		case after > level.Available():
			b.answers[i].Err = &inventory.NotEnoughError{
				ProductID: job.ProductID, Wanted: after, Available: level.Available(),
			}
		default:
			if before <= 0 {
				counts[job.ClientID]++
			}
			lines[key] = after
			continue
		}
		refused = append(refused, i)
	}
	if b.lookOnly && len(refused) < len(b.live) {
		return nil, database.ErrRetry // there is room after all: someone took from the line meanwhile
	}
	return refused, nil
}

// takeBack undoes what was added for the refused jobs.
func (b *addBatch) takeBack(ctx context.Context, tx *database.Tx, refused []int) error {
	if b.lookOnly || len(refused) == 0 {
		return nil
	}
	lines := make([]ClientLine, 0, len(refused))
	for _, i := range refused {
		lines = append(lines, b.jobs[i].line())
	}
	var fewer, gone []ClientLine
	for _, line := range mergeLines(lines) {
		if b.after[line.key()] > 0 {
			fewer = append(fewer, line)
		} else {
			gone = append(gone, line)
		}
	}
	batch := tx.Batch()
	takeFromLines(batch, fewer)
	deleteLines(batch, gone)
	if err := batch.Send(ctx); err != nil {
		return fmt.Errorf("remove what was refused: %w", err)
	}
	return nil
}

// collectAnswers gathers what is to be stored with the live jobs' keys.
func (b *addBatch) collectAnswers() {
	for _, i := range b.live {
		job := b.jobs[i]
		if job.Key == "" {
			continue
		}
		status, body := b.present(b.answers[i].Err)
		b.stored = append(b.stored, idempotency.Record{Request: job.request(), Status: status, Body: body})
	}
}

// answerRepeats gives the batch's own repeats what the first with their key got.
func (b *addBatch) answerRepeats() {
	for i, first := range b.repeats {
		b.answers[i].Err = b.answers[first].Err
		if b.jobs[i].request() != b.jobs[first].request() {
			b.answers[i].Err = idempotency.ErrMismatch
		}
	}
}

// landed looks for a key that the batch stored.
func (b *addBatch) landed(ctx context.Context, tx *database.Tx) (bool, error) {
	if len(b.stored) == 0 {
		return false, errors.New("a batch of adds without keys leaves nothing to look for")
	}
	return idempotency.Landed(ctx, tx, b.stored[0].Key, b.stamp)
}

package checkout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/queue"
)

// endpoint is the name under which the keys of checkouts are stored.
const endpoint = "checkOutCart"

// A reserveJob asks TX 1 to reserve all of a client's cart for a new checkout.
type reserveJob struct {
	checkoutID, clientID string
	key                  string // the Idempotency-Key; empty: none
}

func (j reserveJob) request() idempotency.Request {
	return requestOf(cart.Purchase{ClientID: j.clientID, Key: j.key})
}

func requestOf(p cart.Purchase) idempotency.Request {
	if p.Key == "" {
		return idempotency.Request{}
	}
	// A checkout says nothing but whose: two of one client are never different requests.
	return idempotency.Request{Key: idempotency.Key{ClientID: p.ClientID, Endpoint: endpoint, Key: p.Key}, Hash: idempotency.HashOf()}
}

// reserve is TX 1 for a batch. Its answers are the checkouts that have begun, in their owner's hands. Jobs whose carts
// would make the transaction too large are answered errDeferred.
func (m *Manager) reserve(ctx context.Context, jobs []reserveJob, answers []queue.Answer[*ownership]) error {
	b := &reserveBatch{m: m, jobs: jobs, answers: answers}
	err := m.db.Transact(ctx,
		func(tx *database.Tx) error { return b.run(ctx, tx) },
		func(tx *database.Tx) (bool, error) { return b.landed(ctx, tx) })
	if err != nil && !errors.Is(err, errNothingToWrite) {
		return err
	}
	b.answerRepeats()
	return nil
}

// errDeferred asks for another try in the next batch: nothing was done.
var errDeferred = errors.New("the batch is large enough")

// errNothingToWrite ends a transaction whose answers stand, and that has nothing to commit.
var errNothingToWrite = errors.New("nothing to write")

// A reserveBatch is a batch of reserves in one transaction.
type reserveBatch struct {
	m       *Manager
	jobs    []reserveJob
	answers []queue.Answer[*ownership]

	// What follows is made anew by each run.
	began    time.Time // before the leases are written
	live     []int     // jobs to be judged
	repeats  map[int]int
	reserved []*ownership // sorted by ID, as UUIDv7 are made
	stored   []idempotency.Record
	stamp    idempotency.Stamp
}

func (b *reserveBatch) run(ctx context.Context, tx *database.Tx) error {
	b.began = time.Now()
	b.live, b.repeats, b.reserved, b.stored = nil, nil, nil, nil
	clear(b.answers)
	if err := b.recall(ctx, tx); err != nil {
		return err
	}
	carts, stock, err := b.lock(ctx, tx)
	if err != nil {
		return err
	}
	empty := b.judge(carts, stock)
	if err := b.explainEmpty(ctx, tx, empty); err != nil {
		return err
	}
	b.collectAnswers()
	if len(b.reserved) == 0 && len(b.stored) == 0 {
		return errNothingToWrite
	}
	return b.write(ctx, tx)
}

// recall answers the jobs whose key is known, and leaves the others live.
func (b *reserveBatch) recall(ctx context.Context, tx *database.Tx) error {
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

// lock locks the carts of the live jobs, then the products in them. It leaves out the jobs whose cart or key someone
// else keeps locked, and those whose carts are too many.
func (b *reserveBatch) lock(ctx context.Context, tx *database.Tx) (*cart.Carts, *inventory.Stock, error) {
	clients, keys := b.clientsAndKeys()
	taken, err := b.m.carts.TakenOf(ctx, tx, clients, keys)
	if err != nil {
		return nil, nil, err
	}
	b.leaveOut(fmt.Errorf("%w: the cart", database.ErrRowLocked), func(client string) bool { return taken[client] })
	clients, _ = b.clientsAndKeys()
	carts, err := b.m.carts.Lock(ctx, tx, clients)
	if err != nil {
		return nil, nil, err
	}
	b.leaveOut(errDeferred, carts.Deferred)
	var products []string
	for _, i := range b.live {
		for _, line := range carts.Lines(b.jobs[i].clientID) {
			products = append(products, line.ProductID)
		}
	}
	stock, err := b.m.stock.Lock(ctx, tx, products)
	return carts, stock, err
}

// clientsAndKeys returns whose jobs are live, and the keys that they have.
func (b *reserveBatch) clientsAndKeys() (clients []string, keys []idempotency.Key) {
	clients = make([]string, 0, len(b.live))
	for _, i := range b.live {
		clients = append(clients, b.jobs[i].clientID)
		if key := b.jobs[i].request().Key; !key.None() {
			keys = append(keys, key)
		}
	}
	return clients, keys
}

// leaveOut answers the live jobs of some clients with err.
func (b *reserveBatch) leaveOut(err error, of func(clientID string) bool) {
	b.live = slices.DeleteFunc(b.live, func(i int) bool {
		out := of(b.jobs[i].clientID)
		if out {
			b.answers[i].Err = err
		}
		return out
	})
}

// judge decides the live jobs in turn. It returns those whose cart is empty, and whether that is because an earlier
// one of the batch bought it.
func (b *reserveBatch) judge(carts *cart.Carts, stock *inventory.Stock) (empty map[int]bool) {
	empty = map[int]bool{}
	bought := map[string]bool{}
	for _, i := range b.live {
		job := b.jobs[i]
		lines := carts.Lines(job.clientID)
		switch {
		case len(lines) == 0:
			empty[i] = bought[job.clientID]
		default:
			if err := stock.Reserve(lines); err != nil {
				b.answers[i].Err = err
				continue
			}
			o := &ownership{
				id: job.checkoutID, clientID: job.clientID, key: job.key, lines: lines,
				state: Reserved, epoch: 1, until: b.began.Add(b.m.config.Lease),
			}
			b.answers[i].Value = o
			b.reserved = append(b.reserved, o)
			carts.Empty(job.clientID)
			bought[job.clientID] = true
		}
	}
	slices.SortFunc(b.reserved, func(x, y *ownership) int { return compare(x.id, y.id) })
	return empty
}

// explainEmpty answers the jobs whose cart is empty.
func (b *reserveBatch) explainEmpty(ctx context.Context, tx *database.Tx, empty map[int]bool) error {
	var clients []string
	for i, bought := range empty {
		if !bought {
			clients = append(clients, b.jobs[i].clientID)
		}
	}
	underWay, err := clientsUnderWay(ctx, tx, clients)
	for i, bought := range empty {
		b.answers[i].Err = &cart.EmptyError{UnderWay: bought || underWay[b.jobs[i].clientID]}
	}
	return err
}

// collectAnswers gathers what is to be stored with the live jobs' keys: nothing yet for a checkout that has begun,
// and the refusals that a repeat is to get again.
func (b *reserveBatch) collectAnswers() {
	for _, i := range b.live {
		job := b.jobs[i]
		err := b.answers[i].Err
		if job.key == "" || errors.Is(err, database.ErrRowLocked) {
			continue
		}
		record := idempotency.Record{Request: job.request()}
		if err != nil {
			record.Status, record.Body = b.m.present(err)
		}
		b.stored = append(b.stored, record)
	}
}

func (b *reserveBatch) write(ctx context.Context, tx *database.Tx) (err error) {
	if len(b.reserved) > 0 {
		var taken []cart.ClientLine
		reservations := make([]inventory.Reservation, 0, len(b.reserved))
		for _, o := range b.reserved {
			taken = append(taken, linesOf(o)...)
			reservations = append(reservations, o.reservation())
		}
		batch := tx.Batch()
		b.m.carts.Take(batch, taken)
		b.m.stock.Reserve(batch, reservations)
		if err := insertEntries(batch, b.reserved, b.m.config.Lease); err != nil {
			return err
		}
		if err := batch.Send(ctx); err != nil {
			return fmt.Errorf("reserve: %w", err)
		}
	}
	if len(b.stored) > 0 {
		b.stamp, err = idempotency.Store(ctx, tx, b.stored)
	}
	return err
}

// linesOf returns what a checkout took out of its client's cart.
func linesOf(o *ownership) []cart.ClientLine {
	lines := make([]cart.ClientLine, 0, len(o.lines))
	for _, line := range o.lines {
		lines = append(lines, cart.ClientLine{ClientID: o.clientID, Line: line})
	}
	return lines
}

// answerRepeats gives the batch's own repeats what the first with their key got; what that has begun is under way.
func (b *reserveBatch) answerRepeats() {
	for i, first := range b.repeats {
		b.answers[i] = queue.Answer[*ownership]{Err: b.answers[first].Err}
		if b.answers[first].Err == nil {
			b.answers[i].Err = idempotency.ErrUnderWay
		}
	}
}

// landed looks for a row that the batch wrote.
func (b *reserveBatch) landed(ctx context.Context, tx *database.Tx) (bool, error) {
	if len(b.reserved) > 0 {
		_, found, err := entryLocked(ctx, tx, b.reserved[0].id)
		return found, err
	}
	return idempotency.Landed(ctx, tx, b.stored[0].Key, b.stamp)
}

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

// reserve is TX 1 for a batch. Its answers are the checkouts that have begun, in their owner's hands. Carts that make one transaction too
// large are reserved in further ones.
func (m *Manager) reserve(ctx context.Context, jobs []reserveJob, answers []queue.Answer[*ownership]) error {
	turn := make([]int, len(jobs))
	for i := range jobs {
		turn[i] = i
	}
	for first := true; len(turn) > 0; first = false {
		b := &reserveBatch{m: m, jobs: jobs, answers: answers, turn: turn}
		err := m.db.Transact(ctx,
			func(tx *database.Tx) error { return b.run(ctx, tx) },
			func(tx *database.Tx) (bool, error) { return b.landed(ctx, tx) })
		switch {
		case errors.Is(err, errNothingToWrite):
		case err != nil && first:
			return err
		case err != nil: // what is committed already must not be run again
			for _, i := range turn {
				answers[i] = queue.Answer[*ownership]{Err: err}
			}
			return nil
		}
		b.answerRepeats()
		turn = b.deferred
	}
	return nil
}

// errNothingToWrite ends a transaction whose answers stand, and that has nothing to commit.
var errNothingToWrite = errors.New("nothing to write")

// A reserveBatch is some of a batch's jobs in one transaction.
type reserveBatch struct {
	m       *Manager
	jobs    []reserveJob
	answers []queue.Answer[*ownership]
	turn    []int // the jobs whose turn it is, in order

	// What follows is made anew by each run.
	began    time.Time // before the leases are written
	live     []int     // jobs to be judged
	deferred []int     // jobs for the next transaction
	repeats  map[int]int
	reserved []*ownership // sorted by ID, as UUIDv7 are made
	stored   []idempotency.Record
	stamp    idempotency.Stamp
}

func (b *reserveBatch) run(ctx context.Context, tx *database.Tx) error {
	b.began = time.Now()
	b.live, b.deferred, b.repeats, b.reserved, b.stored = nil, nil, nil, nil, nil
	for _, i := range b.turn {
		b.answers[i] = queue.Answer[*ownership]{}
	}
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
	requests := make([]idempotency.Request, len(b.turn))
	for n, i := range b.turn {
		requests[n] = b.jobs[i].request()
	}
	recalled, err := idempotency.Recall(ctx, tx, requests)
	if err != nil {
		return err
	}
	b.repeats = make(map[int]int, len(recalled.Repeats))
	for n, i := range b.turn {
		if answer, known := recalled.Known[n]; known {
			b.answers[i].Err = answer
		} else if first, repeat := recalled.Repeats[n]; repeat {
			b.repeats[i] = b.turn[first]
		} else {
			b.live = append(b.live, i)
		}
	}
	return nil
}

// lock locks the carts of the live jobs, then the products in them, and defers the jobs that are too many.
func (b *reserveBatch) lock(ctx context.Context, tx *database.Tx) (*cart.Carts, *inventory.Stock, error) {
	clients := make([]string, 0, len(b.live))
	for _, i := range b.live {
		clients = append(clients, b.jobs[i].clientID)
	}
	carts, err := b.m.carts.Lock(ctx, tx, clients)
	if err != nil {
		return nil, nil, err
	}
	var products []string
	live := b.live[:0]
	for _, i := range b.live {
		client := b.jobs[i].clientID
		if carts.Deferred(client) {
			b.deferred = append(b.deferred, i)
			continue
		}
		live = append(live, i)
		for _, line := range carts.Lines(client) {
			products = append(products, line.ProductID)
		}
	}
	b.live = live
	stock, err := b.m.stock.Lock(ctx, tx, products)
	return carts, stock, err
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
		case carts.Taken(job.clientID):
			b.answers[i].Err = fmt.Errorf("%w: the cart", database.ErrRowTaken)
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
		if job.key == "" || errors.Is(err, database.ErrRowTaken) {
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
		if err := b.m.carts.Take(ctx, tx, taken); err != nil {
			return err
		}
		if err := b.m.stock.Reserve(ctx, tx, reservations); err != nil {
			return err
		}
		if err := insertEntries(ctx, tx, b.reserved, b.m.config.Lease); err != nil {
			return err
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
		if slices.Contains(b.deferred, first) {
			b.deferred = append(b.deferred, i)
		}
	}
	slices.Sort(b.deferred)
}

// landed looks for a row that the batch wrote.
func (b *reserveBatch) landed(ctx context.Context, tx *database.Tx) (bool, error) {
	if len(b.reserved) > 0 {
		_, found, err := entryLocked(ctx, tx, b.reserved[0].id)
		return found, err
	}
	return idempotency.Landed(ctx, tx, b.stored[0].Key, b.stamp)
}

package checkout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

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
	cart.Purchase
	admitted time.Time // deferred jobs keep it, and so come first in a later batch
}

func requestOf(p cart.Purchase) idempotency.Request {
	if p.Key == "" {
		return idempotency.Request{}
	}
	request := idempotency.Request{
		Key:  idempotency.Key{ClientID: p.ClientID, Endpoint: endpoint, Key: p.Key},
		Hash: idempotency.HashOf(), // also that of versions without Reference and IfMatch
	}
	if p.Reference != "" || p.IfMatch != "" {
		request.Hash = idempotency.HashOf(p.Reference, p.IfMatch)
	}
	return request
}

// reserve is TX 1 for a batch. It answers with the claims of the new checkouts. Jobs whose carts
// would make the transaction too large are answered errDeferred.
func (m *Manager) reserve(ctx context.Context, jobs []reserveJob, answers []queue.Answer[*claim]) error {
	if m.lineBytes.Load() >= maxLineBytes {
		return ErrBusy
	}
	requests := make([]idempotency.Request, len(jobs))
	for i, job := range jobs {
		requests[i] = requestOf(job.Purchase)
	}
	b := &reserveBatch{m: m, jobs: jobs, answers: answers, keys: idempotency.NewBatch(requests)}
	err := m.db.Transact(ctx,
		func(tx *database.Tx) error { return b.run(ctx, tx) },
		func(tx *database.Tx) (bool, error) { return b.wasCommitted(ctx, tx) })
	if err != nil {
		return err
	}
	b.keys.Repeats(func(repeat, first int, err error) {
		if err == nil {
			err = answers[first].Err
		}
		if err == nil {
			err = &idempotency.UnderWayError{CheckoutID: answers[first].Value.id}
		}
		answers[repeat] = queue.Answer[*claim]{Err: err}
	})
	return nil
}

// errDeferred asks for another attempt in the next batch: nothing was done.
var errDeferred = errors.New("the batch is large enough")

// A reserveBatch is one TX 1.
type reserveBatch struct {
	m       *Manager
	jobs    []reserveJob
	answers []queue.Answer[*claim]
	keys    *idempotency.Batch

	// Each attempt makes the following anew.
	began     time.Time // before the leases are written
	undecided []int     // indexes of the jobs to be decided, the first admitted first
	reserved  []*claim  // sorted by ID
}

// run is one attempt.
func (b *reserveBatch) run(ctx context.Context, tx *database.Tx) error {
	b.began, b.reserved = time.Now(), nil
	clear(b.answers)
	known, fresh, err := b.keys.Find(ctx, tx)
	if err != nil {
		return err
	}
	for i, answer := range known {
		b.answers[i].Err = answer
	}
	b.undecided = fresh
	slices.SortStableFunc(b.undecided, func(i, j int) int { return b.jobs[i].admitted.Compare(b.jobs[j].admitted) })

	carts, stock, err := b.lock(ctx, tx)
	if err != nil {
		return err
	}
	empty, err := b.decide(carts, stock)
	if err != nil {
		return err
	}
	if err := b.explainEmpty(ctx, tx, empty); err != nil {
		return err
	}
	b.putAnswers()
	if len(b.reserved) == 0 && b.keys.Empty() {
		return database.ErrNothingToWrite
	}
	return b.write(ctx, tx)
}

// lock locks the carts of the undecided jobs, then the products in them. It leaves out the jobs
// whose cart or key another transaction has locked, and those whose carts are too many.
func (b *reserveBatch) lock(ctx context.Context, tx *database.Tx) (*cart.Carts, *inventory.Stock, error) {
	clients, keys := b.clientsAndKeys()
	locked, err := b.m.carts.FindLocked(ctx, tx, clients, keys)
	if err != nil {
		return nil, nil, err
	}
	b.leaveOut(fmt.Errorf("%w: the cart or its Idempotency-Key", database.ErrRowLocked), func(client string) bool { return locked[client] })
	clients, _ = b.clientsAndKeys()
	carts, err := b.m.carts.Lock(ctx, tx, clients)
	if err != nil {
		return nil, nil, err
	}
	b.leaveOut(errDeferred, carts.Deferred)
	var products []string
	for _, i := range b.undecided {
		for _, line := range carts.Lines(b.jobs[i].ClientID) {
			products = append(products, line.ProductID)
		}
	}
	stock, err := b.m.stock.Lock(ctx, tx, products)
	return carts, stock, err
}

// clientsAndKeys returns the clients of the undecided jobs, and the jobs' keys.
func (b *reserveBatch) clientsAndKeys() (clients []string, keys []idempotency.Key) {
	clients = make([]string, 0, len(b.undecided))
	for _, i := range b.undecided {
		clients = append(clients, b.jobs[i].ClientID)
		if key := requestOf(b.jobs[i].Purchase).Key; !key.None() {
			keys = append(keys, key)
		}
	}
	return clients, keys
}

// leaveOut answers the undecided jobs of some clients with err.
func (b *reserveBatch) leaveOut(err error, of func(clientID string) bool) {
	b.undecided = slices.DeleteFunc(b.undecided, func(i int) bool {
		out := of(b.jobs[i].ClientID)
		if out {
			b.answers[i].Err = err
		}
		return out
	})
}

// decide answers the undecided jobs in turn. It returns those whose cart is empty, and whether an
// earlier job of the batch bought it.
//
// Each attempt gives its checkouts new IDs. So the look-up after a lost COMMIT cannot mistake
// another attempt's checkout for its own, even on a server of a cluster that lags.
func (b *reserveBatch) decide(carts *cart.Carts, stock *inventory.Stock) (empty map[int]bool, err error) {
	empty = map[int]bool{}
	bought := map[string]bool{}
	for _, i := range b.undecided {
		job := b.jobs[i]
		lines := carts.Lines(job.ClientID)
		if len(lines) == 0 {
			empty[i] = bought[job.ClientID]
			continue
		}
		if !cart.Matches(job.IfMatch, lines) {
			b.answers[i].Err = cart.ErrChanged
			continue
		}
		if err := stock.TryReserve(lines); err != nil {
			b.answers[i].Err = err
			continue
		}
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("make a checkout ID: %w", err)
		}
		c := &claim{
			id: id.String(), clientID: job.ClientID, key: job.Key, reference: job.Reference, lines: lines,
			state: Reserved, epoch: 1, until: b.began.Add(b.m.config.Lease),
		}
		b.answers[i].Value = c
		b.reserved = append(b.reserved, c)
		carts.Clear(job.ClientID)
		bought[job.ClientID] = true
	}
	slices.SortFunc(b.reserved, func(x, y *claim) int { return compare(x.id, y.id) })
	return empty, nil
}

// explainEmpty answers the jobs whose cart is empty.
func (b *reserveBatch) explainEmpty(ctx context.Context, tx *database.Tx, empty map[int]bool) error {
	var clients []string
	for i, bought := range empty {
		if !bought {
			clients = append(clients, b.jobs[i].ClientID)
		}
	}
	underWay := map[string]bool{}
	batch := tx.Batch()
	UnderWay(batch, clients, underWay)
	if err := batch.Send(ctx); err != nil {
		return fmt.Errorf("look for open checkouts: %w", err)
	}
	for i, bought := range empty {
		b.answers[i].Err = cart.ErrEmpty
		if bought || underWay[b.jobs[i].ClientID] {
			b.answers[i].Err = cart.ErrCheckoutUnderWay
		}
	}
	return nil
}

// putAnswers notes what is stored with the undecided jobs' keys: refusals, and that a checkout is
// under way.
func (b *reserveBatch) putAnswers() {
	for _, i := range b.undecided {
		switch err := b.answers[i].Err; {
		case b.jobs[i].Key == "" || errors.Is(err, database.ErrRowLocked):
		case err != nil:
			b.keys.Put(i, b.m.config.Present(err))
		default:
			b.keys.Put(i, idempotency.Response{CheckoutID: b.answers[i].Value.id})
		}
	}
}

func (b *reserveBatch) write(ctx context.Context, tx *database.Tx) error {
	if len(b.reserved) > 0 {
		var lines []cart.ClientLine
		reservations := make([]inventory.Reservation, 0, len(b.reserved))
		for _, c := range b.reserved {
			lines = append(lines, linesOf(c)...)
			reservations = append(reservations, c.reservation())
		}
		batch := tx.Batch()
		b.m.carts.Remove(batch, lines)
		b.m.stock.Reserve(batch, reservations)
		if err := insertEntries(batch, b.reserved, b.m.config.Lease); err != nil {
			return err
		}
		if err := batch.Send(ctx); err != nil {
			return fmt.Errorf("reserve: %w", err)
		}
	}
	return b.keys.Store(ctx, tx)
}

// linesOf returns the lines that a checkout removed from its client's cart.
func linesOf(c *claim) []cart.ClientLine {
	lines := make([]cart.ClientLine, 0, len(c.lines))
	for _, line := range c.lines {
		lines = append(lines, cart.ClientLine{ClientID: c.clientID, Line: line})
	}
	return lines
}

// wasCommitted looks for all journal rows, or else all keys, that the last attempt wrote.
func (b *reserveBatch) wasCommitted(ctx context.Context, tx *database.Tx) (bool, error) {
	if len(b.reserved) == 0 {
		return b.keys.WasCommitted(ctx, tx)
	}
	entries, err := lockEntries(ctx, tx, database.IDs(b.reserved, func(c *claim) string { return c.id }))
	if err != nil || len(entries) == 0 {
		return false, err
	}
	for _, c := range b.reserved {
		entry, found := entries[c.id]
		if !found || entry.ClientID != c.clientID || !slices.Equal(entry.Lines, c.lines) {
			return false, fmt.Errorf("checkout %s is not in the journal as it was written", c.id)
		}
	}
	return true, nil
}

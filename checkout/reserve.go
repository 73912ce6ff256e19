package checkout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	admitted time.Time // a deferred job keeps it, and so comes before later ones in the next batch
}

func (j reserveJob) request() idempotency.Request { return requestOf(j.Purchase) }

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
	t := &reserveTx{m: m, jobs: jobs, answers: answers, keys: idempotency.NewKeys(jobs, reserveJob.request)}
	err := m.db.Transact(ctx,
		func(tx *database.Tx) error { return t.run(ctx, tx) },
		func(tx *database.Tx) (bool, error) { return t.wasCommitted(ctx, tx) })
	if err != nil {
		return err
	}
	for repeat, first := range t.keys.Repeats {
		answers[repeat].Err = answers[first].Err
		if answers[first].Err == nil {
			answers[repeat].Err = &idempotency.UnderWayError{CheckoutID: answers[first].Value.id}
		}
	}
	return nil
}

// errDeferred asks for another attempt in the next batch: nothing was done.
var errDeferred = errors.New("the batch is large enough")

// A reserveTx is one TX 1.
type reserveTx struct {
	m       *Manager
	jobs    []reserveJob
	answers []queue.Answer[*claim]
	keys    *idempotency.Keys

	// Each attempt makes the following anew.
	began     time.Time // before the leases are written
	remaining []int     // indexes of the jobs that this attempt decides, the first admitted first
	reserved  []*claim  // sorted by ID
}

// run is one attempt.
func (t *reserveTx) run(ctx context.Context, tx *database.Tx) error {
	t.began, t.reserved = time.Now(), nil
	clear(t.answers)
	known, fresh, err := t.keys.Find(ctx, tx)
	if err != nil {
		return err
	}
	for i, answer := range known {
		t.answers[i].Err = answer
	}
	t.remaining = fresh
	slices.SortStableFunc(t.remaining, func(i, j int) int { return t.jobs[i].admitted.Compare(t.jobs[j].admitted) })

	carts, stock, err := t.lock(ctx, tx)
	if err != nil {
		return err
	}
	empty, err := t.decide(carts, stock)
	if err != nil {
		return err
	}
	if err := t.explainEmpty(ctx, tx, empty); err != nil {
		return err
	}
	t.recordKeyAnswers()
	if len(t.reserved) == 0 && t.keys.Empty() {
		return database.ErrNothingToWrite
	}
	return t.write(ctx, tx)
}

// lock locks the carts of the remaining jobs, then the products in them. It leaves out the jobs
// whose cart or key another transaction has locked, and those whose carts are too many.
func (t *reserveTx) lock(ctx context.Context, tx *database.Tx) (
	carts map[string][]inventory.Line, stock *inventory.Stock, err error,
) {
	needs := func(i int) cart.Needs { return cart.Needs{Clients: [2]string{t.jobs[i].ClientID}, Key: t.keys.Key(i)} }
	refuse := func(i int, err error) { t.answers[i].Err = err }
	if t.remaining, err = t.m.carts.RefuseLocked(ctx, tx, t.remaining, needs, refuse); err != nil {
		return nil, nil, err
	}
	clients := database.IDs(t.remaining, func(i int) string { return t.jobs[i].ClientID })
	carts, deferred, err := t.m.carts.Lock(ctx, tx, clients)
	if err != nil {
		return nil, nil, err
	}
	t.remaining = slices.DeleteFunc(t.remaining, func(i int) bool {
		if deferred[t.jobs[i].ClientID] {
			t.answers[i].Err = errDeferred
		}
		return deferred[t.jobs[i].ClientID]
	})
	var products []string
	for _, i := range t.remaining {
		for _, line := range carts[t.jobs[i].ClientID] {
			products = append(products, line.ProductID)
		}
	}
	stock, err = t.m.stock.Lock(ctx, tx, products)
	return carts, stock, err
}

// decide answers the remaining jobs in turn. It returns those whose cart is empty, and whether an
// earlier job of the batch bought it.
//
// Each attempt gives its checkouts new IDs. So the look-up after a lost COMMIT cannot mistake
// another attempt's checkout for its own, even on a server of a cluster that lags.
func (t *reserveTx) decide(carts map[string][]inventory.Line, stock *inventory.Stock) (empty map[int]bool, err error) {
	empty = map[int]bool{}
	bought := map[string]bool{}
	for _, i := range t.remaining {
		job := t.jobs[i]
		lines := carts[job.ClientID]
		if len(lines) == 0 {
			empty[i] = bought[job.ClientID]
			continue
		}
		if !cart.Matches(job.IfMatch, lines) {
			t.answers[i].Err = cart.ErrChanged
			continue
		}
		if err := stock.TryReserve(lines); err != nil {
			t.answers[i].Err = err
			continue
		}
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("make a checkout ID: %w", err)
		}
		c := &claim{
			id: id.String(), clientID: job.ClientID, key: job.Key, reference: job.Reference, lines: lines,
			state: Reserved, epoch: 1, until: t.began.Add(t.m.config.Lease),
		}
		t.answers[i].Value = c
		t.reserved = append(t.reserved, c)
		delete(carts, job.ClientID)
		bought[job.ClientID] = true
	}
	slices.SortFunc(t.reserved, func(x, y *claim) int { return strings.Compare(x.id, y.id) })
	return empty, nil
}

// explainEmpty answers the jobs whose cart is empty.
func (t *reserveTx) explainEmpty(ctx context.Context, tx *database.Tx, empty map[int]bool) error {
	var clients []string
	for i, bought := range empty {
		if !bought {
			clients = append(clients, t.jobs[i].ClientID)
		}
	}
	underWay := map[string]bool{}
	batch := tx.Batch()
	UnderWay(batch, clients, underWay)
	if err := batch.Send(ctx); err != nil {
		return fmt.Errorf("look for open checkouts: %w", err)
	}
	for i, bought := range empty {
		t.answers[i].Err = cart.ErrEmpty
		if bought || underWay[t.jobs[i].ClientID] {
			t.answers[i].Err = cart.ErrCheckoutUnderWay
		}
	}
	return nil
}

// recordKeyAnswers notes the answers to the remaining jobs' keys: refusals, or that a checkout is
// under way.
func (t *reserveTx) recordKeyAnswers() {
	for _, i := range t.remaining {
		switch err := t.answers[i].Err; {
		case t.jobs[i].Key == "" || errors.Is(err, database.ErrRowLocked):
		case err != nil:
			t.keys.SetAnswer(i, t.m.config.ResponseTo(err))
		default:
			t.keys.SetAnswer(i, idempotency.Response{CheckoutID: t.answers[i].Value.id})
		}
	}
}

func (t *reserveTx) write(ctx context.Context, tx *database.Tx) error {
	if len(t.reserved) > 0 {
		var lines []cart.ClientLine
		reservations := make([]inventory.Reservation, 0, len(t.reserved))
		for _, c := range t.reserved {
			lines = append(lines, linesOf(c)...)
			reservations = append(reservations, c.reservation())
		}
		batch := tx.Batch()
		t.m.carts.Remove(batch, lines)
		t.m.stock.Reserve(batch, reservations)
		if err := insertEntries(batch, t.reserved, t.m.config.Lease); err != nil {
			return err
		}
		if err := batch.Send(ctx); err != nil {
			return fmt.Errorf("reserve: %w", err)
		}
	}
	return t.keys.Store(ctx, tx)
}

// linesOf returns the lines that a checkout removed from its client's cart.
func linesOf(c *claim) []cart.ClientLine {
	lines := make([]cart.ClientLine, 0, len(c.lines))
	for _, line := range c.lines {
		lines = append(lines, cart.ClientLine{ClientID: c.clientID, Line: line})
	}
	return lines
}

// wasCommitted looks for all journal rows, or else all keys, that the last attempt wrote. It waits
// for a commit that is still under way.
func (t *reserveTx) wasCommitted(ctx context.Context, tx *database.Tx) (bool, error) {
	if len(t.reserved) == 0 {
		return t.keys.WasCommitted(ctx, tx)
	}
	entries, err := entriesByID(ctx, tx, database.IDs(t.reserved, func(c *claim) string { return c.id }), tx.ForUpdate())
	if err != nil || len(entries) == 0 {
		return false, err
	}
	for _, c := range t.reserved {
		entry, found := entries[c.id]
		if !found || entry.ClientID != c.clientID || !slices.Equal(entry.Lines, c.lines) {
			return false, fmt.Errorf("checkout %s is not in the journal as it was written", c.id)
		}
	}
	return true, nil
}

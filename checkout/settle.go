package checkout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/queue"
)

// A settleJob asks TX 2 to move a checkout, whose state and epoch are those of its claim, to
// another state.
type settleJob struct {
	claim  *claim
	to     State
	reason string // of the journal; empty: none
}

// A journalResult is the state of a checkout in the journal after TX 2, by this owner or another
// one.
type journalResult struct {
	state     State
	epoch     int
	reason    string
	byThisJob bool // by this job, and not by another owner
}

// settle is TX 2 for a batch. It applies to the checkouts whose state and epoch are those of their
// claims. It answers each job with the journal's state, or with an error: ErrNotFound, or
// database.ErrRowLocked when another transaction has a row locked.
//
// The fast path assumes that all claims are valid, that the quantity on hand suffices, and that
// restored lines fit. It checks each assumption by the results of its statements. When one fails,
// the transaction is rolled back and the slow path reads first. A cancellation whose units
// were refunded takes the slow path.
func (m *Manager) settle(ctx context.Context, jobs []settleJob, answers []queue.Answer[journalResult]) error {
	t := &settleTx{m: m, jobs: jobs, answers: answers}
	err := t.transact(ctx)
	if errors.Is(err, errSlowPath) {
		t.slow = true
		err = t.transact(ctx)
	}
	for repeat, first := range t.repeats {
		answers[repeat] = answers[first]
		answers[repeat].Value.byThisJob = false
	}
	return err
}

// errSlowPath rolls back a transaction whose assumptions did not hold.
var errSlowPath = errors.New("take the slow path")

// A settleTx is one TX 2, for a batch of jobs. Its statements go into a database.Batch.
type settleTx struct {
	m       *Manager
	jobs    []settleJob
	answers []queue.Answer[journalResult]
	slow    bool

	// Each attempt makes the following anew.
	included      []int         // indexes of the jobs whose transitions are written
	repeats       map[int]int   // the jobs that begin a cancellation which another job of the batch begins
	to            map[int]State // the included jobs' next states
	sold          []inventory.Reservation
	dropped       []inventory.Reservation
	cartOverflow  []cart.ClientLine // units that did not fit into their cart lines
	stockOverflow []inventory.Line  // units above the maximum quantity on hand
}

func (t *settleTx) transact(ctx context.Context) error {
	err := t.m.db.Transact(ctx,
		func(tx *database.Tx) error { return t.run(ctx, tx) },
		func(tx *database.Tx) (bool, error) { return t.wasCommitted(ctx, tx) })
	if err == nil {
		t.report()
	}
	return err
}

// report logs and counts what the transaction did.
func (t *settleTx) report() {
	for _, line := range t.cartOverflow {
		t.m.log.Error("restored units do not fit into a cart line that another program raised; they are lost",
			"client", line.ClientID, "product", line.ProductID, "units", line.Quantity)
	}
	for _, line := range t.stockOverflow {
		t.m.log.Error("units of a cancelled checkout exceed the largest quantity on hand; they are lost",
			"product", line.ProductID, "units", line.Quantity)
	}
	if t.m.config.ObserveMove != nil {
		for _, i := range t.included {
			t.m.config.ObserveMove(t.to[i])
		}
	}
	if t.m.config.ObserveSold != nil {
		for _, sale := range t.sold {
			t.m.config.ObserveSold(inventory.Units(sale.Lines))
		}
	}
}

// run is one attempt.
func (t *settleTx) run(ctx context.Context, tx *database.Tx) (err error) {
	clear(t.answers)
	t.stockOverflow = nil
	restocks := t.include()
	suspects := t.suspects(tx)
	slow := t.slow || restocks || tx.AfterLockTimeout() || len(suspects) > 0
	if slow {
		if err := t.checkClaims(ctx, tx, suspects); err != nil {
			return err
		}
	}
	if t.included, err = t.m.carts.RefuseLocked(ctx, tx, t.included, t.needs, t.refuse); err != nil {
		return err
	}
	batch := tx.Batch()
	full := func() bool { return false }
	if !slow {
		t.cartOverflow, full = nil, t.m.carts.Restore(batch, t.restored())
	} else {
		if t.cartOverflow, err = t.m.carts.LockAndRestore(ctx, batch, t.restored()); err != nil {
			return err
		}
		if err := batch.Send(ctx); err != nil {
			return fmt.Errorf("restore cart lines: %w", err)
		}
		if err := t.checkStock(ctx, tx); err != nil {
			return err
		}
	}
	if len(t.included) == 0 {
		return database.ErrNothingToWrite
	}
	t.collectReservations()
	if err := t.apply(ctx, batch); err != nil {
		return t.slowPathError(err, slow)
	}
	if full() {
		return errSlowPath
	}
	return t.answerKeys(ctx, tx)
}

// include includes all jobs but repeats, and reports whether one of them restocks units.
func (t *settleTx) include() (restocks bool) {
	t.included, t.repeats, t.to = t.included[:0], map[int]int{}, make(map[int]State, len(t.jobs))
	type claimed struct {
		id    string
		epoch int
	}
	cancelling := map[claimed]int{}
	for i, job := range t.jobs {
		if job.to == Cancelling {
			this := claimed{job.claim.id, job.claim.epoch}
			if first, repeated := cancelling[this]; repeated {
				t.repeats[i] = first
				continue
			}
			cancelling[this] = i
		}
		t.included = append(t.included, i)
		t.to[i] = job.to
		restocks = restocks || job.to == Cancelled
	}
	return restocks
}

// apply sends the statement batch with the changes of stock and journal.
func (t *settleTx) apply(ctx context.Context, batch *database.Batch) error {
	if err := t.m.stock.Sell(batch, t.sold); err != nil {
		return err
	}
	t.m.stock.Release(batch, t.dropped)
	t.writeJournal(batch)
	if err := batch.Send(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// slowPathError returns errSlowPath for an error that the slow path avoids. On the slow path it
// returns ErrRetry for it: what was read has changed since. Other errors stay as they are.
func (t *settleTx) slowPathError(err error, slow bool) error {
	switch {
	case !errors.Is(err, inventory.ErrShort) && !errors.Is(err, database.ErrRowLocked) && !errors.Is(err, errClaimLost):
		return err
	case slow:
		return errors.Join(database.ErrRetry, err)
	}
	return errSlowPath
}

// needs returns the client where lines return to its cart, and where a key is answered, because
// RefuseLocked tests a key only with its client. So a locked cart delays a sale that has a key. The
// owner of a job that is refused retries.
func (t *settleTx) needs(i int) cart.Needs {
	c := t.jobs[i].claim
	needs := cart.Needs{Key: c.idempotencyKey()}
	if t.to[i] == RolledBack || c.key != "" {
		needs.Clients[0] = c.clientID
	}
	return needs
}

func (t *settleTx) refuse(i int, err error) { t.answers[i].Err = err }

// restored returns the lines that return to their carts.
func (t *settleTx) restored() []cart.ClientLine {
	var lines []cart.ClientLine
	for _, i := range t.included {
		if t.to[i] == RolledBack {
			lines = append(lines, linesOf(t.jobs[i].claim)...)
		}
	}
	return lines
}

// collectReservations collects the reservations that the included jobs sell or drop. Only reserved
// checkouts have any.
func (t *settleTx) collectReservations() {
	t.sold, t.dropped = nil, nil
	for _, i := range t.included {
		switch c := t.jobs[i].claim; {
		case c.state != Reserved:
		case t.to[i] == Committed:
			t.sold = append(t.sold, c.reservation())
		default:
			t.dropped = append(t.dropped, c.reservation())
		}
	}
}

// errClaimLost means that a checkout was not in the state and epoch of its claim.
var errClaimLost = errors.New("a claim is no longer valid")

// writeJournal adds the transitions of the included jobs to the batch, conditional on the state and
// epoch of their claims. It sets the answers to what they will have written: answerKeys and
// wasCommitted read them.
func (t *settleTx) writeJournal(batch *database.Batch) {
	moves := map[transition][]string{}
	for _, i := range t.included {
		job := t.jobs[i]
		move := transition{from: job.claim.state, to: t.to[i], epoch: job.claim.epoch, reason: job.reason}
		move.announced = t.m.config.Events && (move.from == Reserved && move.to == Committed || move.to == Cancelled)
		if move.to == Refunding {
			move.reason = stockLowered
		}
		moves[move] = append(moves[move], job.claim.id)
		wrote := journalResult{move.to, move.epoch, move.reason, true}
		if move.to == Cancelling {
			wrote.epoch++
		}
		t.answers[i].Value = wrote
	}
	// Rows are locked in the order of the IDs within a statement, and of the first IDs across
	// statements. No two owners claim one checkout, so this causes no deadlock. Only the starts of
	// cancellations can meet in one, which is retried.
	order := make([]transition, 0, len(moves))
	for move, ids := range moves {
		slices.Sort(ids)
		order = append(order, move)
	}
	slices.SortFunc(order, func(x, y transition) int { return strings.Compare(moves[x][0], moves[y][0]) })
	for _, move := range order {
		updateEntries(batch, move, moves[move], t.m.config.Lease)
	}
}

func (c *claim) idempotencyKey() idempotency.Key {
	return idempotency.Key{ClientID: c.clientID, Endpoint: endpoint, Key: c.key}
}

// answerKeys stores the answers that repeats of the checkouts get. It deletes the keys of those
// that end with ErrUnpaid.
func (t *settleTx) answerKeys(ctx context.Context, tx *database.Tx) error {
	keyed := slices.DeleteFunc(slices.Clone(t.included), func(i int) bool {
		return t.jobs[i].claim.key == "" || !t.to[i].Settled()
	})
	slices.SortFunc(keyed, func(i, j int) int {
		x, y := t.jobs[i].claim, t.jobs[j].claim
		return strings.Compare(x.clientID+"\x00"+x.key, y.clientID+"\x00"+y.key)
	})
	for _, i := range keyed {
		key := t.jobs[i].claim.idempotencyKey()
		answer := outcome(t.answers[i].Value.state, t.answers[i].Value.reason)
		var err error
		if errors.Is(answer, ErrUnpaid) {
			err = idempotency.DeleteUnderWay(ctx, tx, key)
		} else {
			err = idempotency.Complete(ctx, tx, key, t.m.config.ResponseTo(answer))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wasCommitted reports whether the journal has all that the last attempt wrote, whose commit may
// still be under way. A checkout that went to be refunded counts when its refund has ended since.
func (t *settleTx) wasCommitted(ctx context.Context, tx *database.Tx) (bool, error) {
	entries, err := entriesByID(ctx, tx, t.includedIDs(), tx.ForUpdate())
	if err != nil {
		return false, err
	}
	written := func(i int) bool {
		entry, wrote := entries[t.jobs[i].claim.id], t.answers[i].Value
		return entry.State == wrote.state && entry.Epoch == wrote.epoch ||
			wrote.state == Refunding && entry.State != Reserved
	}
	all := !slices.ContainsFunc(t.included, func(i int) bool { return !written(i) })
	return all && len(t.included) > 0, nil
}

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
// the transaction is rolled back and the slow path reads first. A cancellation that ends takes the
// slow path.
func (m *Manager) settle(ctx context.Context, jobs []settleJob, answers []queue.Answer[journalResult]) error {
	b := &settleBatch{m: m, jobs: jobs, answers: answers}
	err := b.transact(ctx)
	if errors.Is(err, errSlowPath) {
		b.slow = true
		err = b.transact(ctx)
	}
	for repeat, first := range b.repeats {
		answers[repeat] = answers[first]
		answers[repeat].Value.byThisJob = false
	}
	return err
}

// errSlowPath rolls back a transaction whose assumptions did not hold.
var errSlowPath = errors.New("take the slow path")

// A settleBatch is one TX 2, for a batch of jobs. Its statements go into a database.Batch.
type settleBatch struct {
	m       *Manager
	jobs    []settleJob
	answers []queue.Answer[journalResult]
	slow    bool

	// Each attempt makes the following anew.
	included []int         // indexes of the jobs that are settled
	repeats  map[int]int   // the jobs that begin a cancellation which another job of the batch begins
	to       map[int]State // the included jobs' next states
	sold     []inventory.Reservation
	dropped  []inventory.Reservation
	lost     []cart.ClientLine // units that did not fit into their cart lines
	surplus  []inventory.Line  // units above the maximum quantity on hand
}

func (b *settleBatch) transact(ctx context.Context) error {
	err := b.m.db.Transact(ctx,
		func(tx *database.Tx) error { return b.run(ctx, tx) },
		func(tx *database.Tx) (bool, error) { return b.wasCommitted(ctx, tx) })
	if err == nil {
		b.report()
	}
	return err
}

// report logs and counts what the transaction did.
func (b *settleBatch) report() {
	for _, line := range b.lost {
		b.m.log.Error("restored units do not fit into a cart line that another program raised; they are lost",
			"client", line.ClientID, "product", line.ProductID, "units", line.Quantity)
	}
	for _, line := range b.surplus {
		b.m.log.Error("units of a cancelled checkout do not fit into what is on hand; they are lost",
			"product", line.ProductID, "units", line.Quantity)
	}
	if b.m.config.ObserveMove != nil {
		for _, i := range b.included {
			b.m.config.ObserveMove(b.to[i])
		}
	}
	if b.m.config.ObserveSold != nil {
		for _, sale := range b.sold {
			b.m.config.ObserveSold(inventory.Units(sale.Lines))
		}
	}
}

// run is one attempt.
func (b *settleBatch) run(ctx context.Context, tx *database.Tx) (err error) {
	clear(b.answers)
	b.surplus = nil
	restocks := b.include()
	suspects := b.suspects(tx)
	slow := b.slow || restocks || tx.AfterLockTimeout() || len(suspects) > 0
	if slow {
		if err := b.checkClaims(ctx, tx, suspects); err != nil {
			return err
		}
	}
	if err := b.leaveOutLocked(ctx, tx); err != nil {
		return err
	}
	batch := tx.Batch()
	full := func() bool { return false }
	if !slow {
		b.lost, full = nil, b.m.carts.Restore(batch, b.restored())
	} else {
		if b.lost, err = b.m.carts.LockAndRestore(ctx, tx, batch, b.restored()); err != nil {
			return err
		}
		if err := batch.Send(ctx); err != nil {
			return fmt.Errorf("restore cart lines: %w", err)
		}
		if err := b.checkStock(ctx, tx); err != nil {
			return err
		}
	}
	if len(b.included) == 0 {
		return database.ErrNothingToWrite
	}
	b.collectReservations()
	if err := b.apply(ctx, batch); err != nil {
		return b.slowPathError(err, slow)
	}
	if full() {
		return errSlowPath
	}
	return b.answerKeys(ctx, tx)
}

// include includes all jobs but repeats, and reports whether one of them restocks units.
func (b *settleBatch) include() (restocks bool) {
	b.included, b.repeats, b.to = b.included[:0], map[int]int{}, make(map[int]State, len(b.jobs))
	type claimed struct {
		id    string
		epoch int
	}
	cancelling := map[claimed]int{}
	for i, job := range b.jobs {
		if job.to == Cancelling {
			this := claimed{job.claim.id, job.claim.epoch}
			if first, repeated := cancelling[this]; repeated {
				b.repeats[i] = first
				continue
			}
			cancelling[this] = i
		}
		b.included = append(b.included, i)
		b.to[i] = job.to
		restocks = restocks || job.to == Cancelled
	}
	return restocks
}

// apply sends the statement batch with the changes of stock and journal.
func (b *settleBatch) apply(ctx context.Context, batch *database.Batch) error {
	if err := b.m.stock.Sell(batch, b.sold); err != nil {
		return err
	}
	b.m.stock.Release(batch, b.dropped)
	b.writeJournal(batch)
	if err := batch.Send(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// slowPathError returns errSlowPath for an error that the slow path avoids. On the slow path it
// returns ErrRetry for it: what was read has changed since. Other errors stay as they are.
func (b *settleBatch) slowPathError(err error, slow bool) error {
	switch {
	case !errors.Is(err, inventory.ErrShort) && !errors.Is(err, database.ErrRowLocked) && !errors.Is(err, errClaimLost):
		return err
	case slow:
		return errors.Join(database.ErrRetry, err)
	}
	return errSlowPath
}

// leaveOutLocked leaves out the jobs that need a cart or a key which another transaction has
// locked. Their owners retry.
func (b *settleBatch) leaveOutLocked(ctx context.Context, tx *database.Tx) error {
	var clients []string
	var keys []idempotency.Key
	for _, i := range b.included {
		c := b.jobs[i].claim
		if b.to[i] == RolledBack || c.key != "" {
			clients = append(clients, c.clientID)
		}
		if c.key != "" {
			keys = append(keys, c.idempotencyKey())
		}
	}
	locked, err := b.m.carts.FindLocked(ctx, tx, clients, keys)
	if err != nil {
		return err
	}
	b.included = slices.DeleteFunc(b.included, func(i int) bool {
		if !locked[b.jobs[i].claim.clientID] {
			return false
		}
		b.answers[i].Err = fmt.Errorf("%w: the cart or its Idempotency-Key", database.ErrRowLocked)
		return true
	})
	return nil
}

// restored returns the lines that return to their carts.
func (b *settleBatch) restored() []cart.ClientLine {
	var lines []cart.ClientLine
	for _, i := range b.included {
		if b.to[i] == RolledBack {
			lines = append(lines, linesOf(b.jobs[i].claim)...)
		}
	}
	return lines
}

// collectReservations collects the reservations that the included jobs sell or drop. Only reserved
// checkouts have any.
func (b *settleBatch) collectReservations() {
	b.sold, b.dropped = nil, nil
	for _, i := range b.included {
		switch c := b.jobs[i].claim; {
		case c.state != Reserved:
		case b.to[i] == Committed:
			b.sold = append(b.sold, c.reservation())
		default:
			b.dropped = append(b.dropped, c.reservation())
		}
	}
}

// errClaimLost means that a checkout was not in the state and epoch of its claim.
var errClaimLost = errors.New("a claim is no longer valid")

// writeJournal makes the transitions of the included jobs, conditional on the state and epoch of
// their claims.
func (b *settleBatch) writeJournal(batch *database.Batch) {
	moves := map[transition][]string{}
	for _, i := range b.included {
		job := b.jobs[i]
		t := transition{from: job.claim.state, to: b.to[i], epoch: job.claim.epoch, reason: job.reason}
		t.announced = b.m.config.Events && (t.from == Reserved && t.to == Committed || t.to == Cancelled)
		if t.to == Refunding {
			t.reason = stockLowered
		}
		moves[t] = append(moves[t], job.claim.id)
		wrote := journalResult{t.to, t.epoch, t.reason, true}
		if t.to == Cancelling {
			wrote.epoch++
		}
		b.answers[i].Value = wrote
	}
	// Rows are locked in the order of the IDs within a statement, and of the first IDs across
	// statements. No two owners claim one checkout, so this causes no deadlock. Only the starts of
	// cancellations can meet in one, which is retried.
	order := make([]transition, 0, len(moves))
	for t, ids := range moves {
		slices.Sort(ids)
		order = append(order, t)
	}
	slices.SortFunc(order, func(x, y transition) int { return compare(moves[x][0], moves[y][0]) })
	for _, t := range order {
		updateEntries(batch, t, moves[t], b.m.config.Lease)
	}
}

func (c *claim) idempotencyKey() idempotency.Key {
	return idempotency.Key{ClientID: c.clientID, Endpoint: endpoint, Key: c.key}
}

// answerKeys stores the answers that repeats of the checkouts get. It frees the keys of those that
// were not paid.
func (b *settleBatch) answerKeys(ctx context.Context, tx *database.Tx) error {
	keyed := slices.DeleteFunc(slices.Clone(b.included), func(i int) bool {
		return b.jobs[i].claim.key == "" || !b.to[i].Settled()
	})
	slices.SortFunc(keyed, func(i, j int) int {
		x, y := b.jobs[i].claim, b.jobs[j].claim
		return compare(x.clientID+"\x00"+x.key, y.clientID+"\x00"+y.key)
	})
	for _, i := range keyed {
		key := b.jobs[i].claim.idempotencyKey()
		answer := outcome(b.answers[i].Value.state, b.answers[i].Value.reason)
		var err error
		if errors.Is(answer, ErrUnpaid) {
			err = idempotency.DeleteUnderWay(ctx, tx, key)
		} else {
			err = idempotency.Fill(ctx, tx, key, b.m.config.Present(answer))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wasCommitted reports whether the journal has all that the last attempt wrote. A checkout whose
// refund ended since counts.
func (b *settleBatch) wasCommitted(ctx context.Context, tx *database.Tx) (bool, error) {
	entries, err := lockEntries(ctx, tx, b.includedIDs())
	if err != nil {
		return false, err
	}
	written := func(i int) bool {
		entry, wrote := entries[b.jobs[i].claim.id], b.answers[i].Value
		return entry.State == wrote.state && entry.Epoch == wrote.epoch ||
			wrote.state == Refunding && entry.State != Reserved
	}
	all := !slices.ContainsFunc(b.included, func(i int) bool { return !written(i) })
	return all && len(b.included) > 0, nil
}

func compare(a, b string) int { return strings.Compare(a, b) }

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

// A settleJob asks TX 2 to end a checkout, which is in the state and epoch that its owner holds.
type settleJob struct {
	owned  *ownership
	sold   bool
	reason string // of a checkout that was not sold
}

// settled is what the journal says of a checkout after TX 2, whoever brought it there.
type settled struct {
	state  State
	epoch  int
	reason string
}

// settle is TX 2 for a batch. It applies to the checkouts whose state and epoch are what their owner holds, and
// answers for all of them what the journal says then.
//
// It first takes for granted that all are, and that the stock suffices, which one conditional statement each
// decides. Where that fails, it rolls back and looks closer.
func (m *Manager) settle(ctx context.Context, jobs []settleJob, answers []queue.Answer[settled]) error {
	b := &settleBatch{m: m, jobs: jobs, answers: answers}
	err := b.transact(ctx)
	if errors.Is(err, errLookCloser) {
		b.closer = true
		err = b.transact(ctx)
	}
	return err
}

// errLookCloser ends a transaction that took too much for granted.
var errLookCloser = errors.New("look closer")

// A settleBatch is a batch of settles in one transaction.
type settleBatch struct {
	m       *Manager
	jobs    []settleJob
	answers []queue.Answer[settled]
	closer  bool

	// What follows is made anew by each run.
	live    []int
	to      map[int]State // what becomes of the live jobs
	sold    []inventory.Reservation
	dropped []inventory.Reservation
}

func (b *settleBatch) transact(ctx context.Context) error {
	err := b.m.db.Transact(ctx,
		func(tx *database.Tx) error { return b.run(ctx, tx) },
		func(tx *database.Tx) (bool, error) { return b.landed(ctx, tx) })
	if errors.Is(err, errNothingToWrite) {
		return nil
	}
	return err
}

func (b *settleBatch) run(ctx context.Context, tx *database.Tx) error {
	clear(b.answers)
	b.live = b.live[:0]
	b.to = make(map[int]State, len(b.jobs))
	for i, job := range b.jobs {
		b.live = append(b.live, i)
		b.to[i] = RolledBack
		if job.sold {
			b.to[i] = Committed
		}
	}
	suspects := b.suspects(tx)
	closer := b.closer || tx.AfterLockWait() || len(suspects) > 0
	if closer {
		if err := b.lookAtOwners(ctx, tx, suspects); err != nil {
			return err
		}
	}
	if err := b.leaveTaken(ctx, tx); err != nil {
		return err
	}
	batch := tx.Batch()
	b.m.carts.PutBack(batch, b.putBacks())
	if closer {
		if err := batch.Send(ctx); err != nil {
			return fmt.Errorf("restore cart lines: %w", err)
		}
		if err := b.lookAtStock(ctx, tx); err != nil {
			return err
		}
	}
	if len(b.live) == 0 {
		return errNothingToWrite
	}
	b.sort()
	if err := b.apply(ctx, batch); err != nil {
		return b.orLookCloser(err, closer)
	}
	return b.answerKeys(ctx, tx)
}

// apply sends what the batch has, and moves stock and journal.
func (b *settleBatch) apply(ctx context.Context, batch *database.Batch) error {
	if err := b.m.stock.Commit(batch, b.sold); err != nil {
		return err
	}
	b.m.stock.Rollback(batch, b.dropped)
	b.move(batch)
	if err := batch.Send(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// orLookCloser turns what looking closer explains into a request to do so; if it was looked closer already, what was
// seen has changed since, and all is run again.
func (b *settleBatch) orLookCloser(err error, closer bool) error {
	switch {
	case !errors.Is(err, inventory.ErrShort) && !errors.Is(err, database.ErrRowLocked) && !errors.Is(err, errStale):
		return err
	case closer:
		return errors.Join(database.ErrRetry, err)
	}
	return errLookCloser
}

// suspects returns the live checkouts, sorted, whose rows someone else may keep locked: all of them once a lock was waited
// for in vain, else those that were found locked a moment ago. They are not waited for: by the time that the journal is
// written the products are locked, and everyone who buys them would wait as well.
func (b *settleBatch) suspects(tx *database.Tx) []string {
	ids := b.liveIDs()
	if !tx.AfterLockWait() {
		_, ids = b.m.locked.Split(ids)
	}
	slices.Sort(ids)
	return ids
}

func (b *settleBatch) liveIDs() []string {
	ids := make([]string, 0, len(b.live))
	for _, i := range b.live {
		ids = append(ids, b.jobs[i].owned.id)
	}
	return ids
}

// lookAtOwners answers the jobs that are not their owner's any more with what the journal says, and leaves out those
// among the suspects whose row someone else keeps locked.
func (b *settleBatch) lookAtOwners(ctx context.Context, tx *database.Tx, suspects []string) error {
	entries, err := entriesByID(ctx, tx, b.liveIDs())
	if err != nil {
		return err
	}
	free, err := entriesFree(ctx, tx, suspects)
	if err != nil {
		return err
	}
	for _, id := range suspects {
		_, isThere := entries[id]
		_, isFree := free[id]
		b.m.locked.Found(id, isThere && !isFree)
	}
	b.live = slices.DeleteFunc(b.live, func(i int) bool {
		o := b.jobs[i].owned
		entry, found := entries[o.id]
		_, suspected := slices.BinarySearch(suspects, o.id)
		_, isFree := free[o.id]
		switch {
		case !found:
			b.answers[i].Err = ErrNotFound
		case entry.State != o.state || entry.Epoch != o.epoch:
			b.answers[i].Value = settled{entry.State, entry.Epoch, entry.Reason}
		case suspected && !isFree:
			b.answers[i].Err = fmt.Errorf("%w: checkout %s", database.ErrRowLocked, o.id)
		default:
			return false
		}
		return true
	})
	return nil
}

// leaveTaken leaves out the jobs that need a cart or a key which someone else keeps locked: they are for another try.
func (b *settleBatch) leaveTaken(ctx context.Context, tx *database.Tx) error {
	var clients []string
	var keys []idempotency.Key
	for _, i := range b.live {
		o := b.jobs[i].owned
		if b.to[i] == RolledBack || o.key != "" {
			clients = append(clients, o.clientID)
		}
		if o.key != "" {
			keys = append(keys, keyOf(o))
		}
	}
	taken, err := b.m.carts.TakenOf(ctx, tx, clients, keys)
	if err != nil {
		return err
	}
	b.live = slices.DeleteFunc(b.live, func(i int) bool {
		if !taken[b.jobs[i].owned.clientID] {
			return false
		}
		b.answers[i].Err = fmt.Errorf("%w: the cart", database.ErrRowLocked)
		return true
	})
	return nil
}

// putBacks returns the lines that go back into carts.
func (b *settleBatch) putBacks() []cart.ClientLine {
	var lines []cart.ClientLine
	for _, i := range b.live {
		if b.to[i] == RolledBack {
			lines = append(lines, linesOf(b.jobs[i].owned)...)
		}
	}
	return lines
}

// lookAtStock turns the jobs for which the stock does not suffice into refunds, and leaves out those whose products
// someone else keeps locked. Ownership was looked at before.
func (b *settleBatch) lookAtStock(ctx context.Context, tx *database.Tx) error {
	var products []string
	for _, i := range b.live {
		if b.to[i] == Committed {
			for _, line := range b.jobs[i].owned.lines {
				products = append(products, line.ProductID)
			}
		}
	}
	stock, err := b.m.stock.Lock(ctx, tx, products)
	if err != nil {
		return err
	}
	b.live = slices.DeleteFunc(b.live, func(i int) bool {
		if b.to[i] != Committed {
			return false
		}
		err := stock.Sell(b.jobs[i].owned.lines)
		switch {
		case errors.Is(err, inventory.ErrShort):
			b.to[i] = Refunding
		case err != nil:
			b.answers[i].Err = err
			return true
		}
		return false
	})
	return nil
}

// sort gathers what the live jobs do to the stock.
func (b *settleBatch) sort() {
	b.sold, b.dropped = nil, nil
	for _, i := range b.live {
		o := b.jobs[i].owned
		switch b.to[i] {
		case Committed:
			b.sold = append(b.sold, o.reservation())
		case Refunding:
			b.dropped = append(b.dropped, o.reservation())
		default:
			if o.state == Reserved { // a refund dropped its holds before
				b.dropped = append(b.dropped, o.reservation())
			}
		}
	}
}

// errStale means that a checkout was not in the state and epoch that its owner holds.
var errStale = errors.New("a checkout is no longer its owner's")

// move writes the journal: only where state and epoch are what the owner holds.
func (b *settleBatch) move(batch *database.Batch) {
	moves := map[transition][]string{}
	for _, i := range b.live {
		job := b.jobs[i]
		t := transition{from: job.owned.state, to: b.to[i], epoch: job.owned.epoch}
		if t.to == RolledBack {
			t.reason = job.reason
		}
		if t.to == Refunding {
			t.reason = stockLowered
		}
		moves[t] = append(moves[t], job.owned.id)
		b.answers[i].Value = settled{t.to, t.epoch, t.reason}
	}
	// The order in which rows are locked is the order of the IDs within each statement, and of the statements' first
	// IDs: no two owners hold one checkout, so no circle can close here.
	order := make([]transition, 0, len(moves))
	for t, ids := range moves {
		slices.Sort(ids)
		order = append(order, t)
	}
	slices.SortFunc(order, func(x, y transition) int { return compare(moves[x][0], moves[y][0]) })
	for _, t := range order {
		move(batch, t, moves[t])
	}
}

func keyOf(o *ownership) idempotency.Key {
	return idempotency.Key{ClientID: o.clientID, Endpoint: endpoint, Key: o.key}
}

// answerKeys gives the answers that repeats of the checkouts get.
func (b *settleBatch) answerKeys(ctx context.Context, tx *database.Tx) error {
	keyed := slices.DeleteFunc(slices.Clone(b.live), func(i int) bool {
		return b.jobs[i].owned.key == "" || !b.to[i].Settled()
	})
	slices.SortFunc(keyed, func(i, j int) int {
		x, y := b.jobs[i].owned, b.jobs[j].owned
		return compare(x.clientID+"\x00"+x.key, y.clientID+"\x00"+y.key)
	})
	for _, i := range keyed {
		o := b.jobs[i].owned
		status, body := b.m.present(outcome(b.answers[i].Value.state, b.answers[i].Value.reason))
		if err := idempotency.Fill(ctx, tx, keyOf(o), status, body); err != nil {
			return err
		}
	}
	return nil
}

// landed looks whether the journal says what the batch wrote into it.
func (b *settleBatch) landed(ctx context.Context, tx *database.Tx) (bool, error) {
	i := b.live[0]
	entry, found, err := entryLocked(ctx, tx, b.jobs[i].owned.id)
	return found && entry.State == b.answers[i].Value.state && entry.Epoch == b.answers[i].Value.epoch, err
}

func compare(a, b string) int { return strings.Compare(a, b) }

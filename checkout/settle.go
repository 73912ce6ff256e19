package checkout

import (
	"context"
	"errors"
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
	b := &settleBatch{m: m, jobs: jobs, answers: answers, closer: m.contended(jobs)}
	err := b.transact(ctx)
	if errors.Is(err, errLookCloser) {
		b.closer = true
		err = b.transact(ctx)
	}
	return err
}

// errLookCloser ends a transaction that took too much for granted.
var errLookCloser = errors.New("look closer")

// contended reports whether a row that the jobs lock was lately found locked by someone else.
func (m *Manager) contended(jobs []settleJob) bool {
	var products, clients []string
	for _, job := range jobs {
		if !job.sold {
			clients = append(clients, job.owned.clientID)
			continue
		}
		for _, line := range job.owned.lines {
			products = append(products, line.ProductID)
		}
	}
	return m.stock.Contended(products) || m.carts.Contended(clients)
}

// A settleBatch is a batch of settles in one transaction.
type settleBatch struct {
	m       *Manager
	jobs    []settleJob
	answers []queue.Answer[settled]
	closer  bool

	// What follows is made anew by each run.
	live     []int
	to       map[int]State // what becomes of the live jobs
	putBacks []cart.ClientLine
	sold     []inventory.Reservation
	dropped  []inventory.Reservation
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
	if b.closer || tx.AfterLockWait() {
		if err := b.look(ctx, tx); err != nil {
			return err
		}
		if len(b.live) == 0 {
			return errNothingToWrite
		}
	}
	b.sort()
	if err := b.m.carts.PutBack(ctx, tx, b.putBacks); err != nil {
		return err
	}
	if err := b.m.stock.Commit(ctx, tx, b.sold); err != nil {
		return b.orLookCloser(err, errors.Is(err, inventory.ErrShort))
	}
	if err := b.m.stock.Rollback(ctx, tx, b.dropped); err != nil {
		return err
	}
	if err := b.move(ctx, tx); err != nil {
		return b.orLookCloser(err, errors.Is(err, errStale))
	}
	return b.answerKeys(ctx, tx)
}

// orLookCloser turns what looking closer explains into a request to do so; if it was looked closer already, what was
// seen has changed since, and all is run again.
func (b *settleBatch) orLookCloser(err error, explained bool) error {
	switch {
	case !explained:
		return err
	case b.closer:
		return errors.Join(database.ErrRunAgain, err)
	}
	return errLookCloser
}

// look answers the jobs that are not their owner's any more, leaves out those whose rows someone else keeps locked,
// and turns those for which the stock does not suffice into refunds. Ownership comes before stock.
func (b *settleBatch) look(ctx context.Context, tx *database.Tx) error {
	ids := make([]string, 0, len(b.live))
	for _, i := range b.live {
		ids = append(ids, b.jobs[i].owned.id)
	}
	entries, err := entriesByID(ctx, tx, ids)
	if err != nil {
		return err
	}
	b.live = slices.DeleteFunc(b.live, func(i int) bool {
		o := b.jobs[i].owned
		entry, found := entries[o.id]
		if !found {
			b.answers[i].Err = ErrNotFound
			return true
		}
		b.answers[i].Value = settled{entry.State, entry.Epoch, entry.Reason}
		return entry.State != o.state || entry.Epoch != o.epoch
	})

	var putBacks []cart.ClientLine
	var products []string
	for _, i := range b.live {
		if b.to[i] == RolledBack {
			putBacks = append(putBacks, linesOf(b.jobs[i].owned)...)
			continue
		}
		for _, line := range b.jobs[i].owned.lines {
			products = append(products, line.ProductID)
		}
	}
	taken, err := b.m.carts.TakenOf(ctx, tx, putBacks)
	if err != nil {
		return err
	}
	stock, err := b.m.stock.Lock(ctx, tx, products)
	if err != nil {
		return err
	}
	b.live = slices.DeleteFunc(b.live, func(i int) bool {
		o := b.jobs[i].owned
		if b.to[i] == RolledBack {
			if taken[o.clientID] {
				b.answers[i].Err = database.ErrRowTaken
			}
			return taken[o.clientID]
		}
		switch err := stock.Sell(o.lines); {
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

// sort gathers what the live jobs do to carts and stock.
func (b *settleBatch) sort() {
	b.putBacks, b.sold, b.dropped = nil, nil, nil
	for _, i := range b.live {
		o := b.jobs[i].owned
		switch b.to[i] {
		case Committed:
			b.sold = append(b.sold, o.reservation())
		case Refunding:
			b.dropped = append(b.dropped, o.reservation())
		default:
			b.putBacks = append(b.putBacks, linesOf(o)...)
			if o.state == Reserved { // a refund dropped its holds before
				b.dropped = append(b.dropped, o.reservation())
			}
		}
	}
}

// errStale means that a checkout was not in the state and epoch that its owner holds.
var errStale = errors.New("a checkout is no longer its owner's")

// move writes the journal: only where state and epoch are what the owner holds.
func (b *settleBatch) move(ctx context.Context, tx *database.Tx) error {
	moves := map[transition][]string{}
	for _, i := range b.live {
		job := b.jobs[i]
		t := transition{from: job.owned.state, to: b.to[i], epoch: job.owned.epoch}
		switch t.to {
		case RolledBack:
			t.reason = job.reason
		case Refunding:
			t.reason = reasonOf(reasonRefunded, "the stock was lowered while the payment was under way")
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
		moved, err := move(ctx, tx, t, moves[t])
		if err != nil {
			return err
		}
		if moved != len(moves[t]) {
			return errStale
		}
	}
	return nil
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
		key := idempotency.Key{ClientID: o.clientID, Endpoint: endpoint, Key: o.key}
		if err := idempotency.Fill(ctx, tx, key, status, body); err != nil {
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

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

// applyBatch makes a batch of changes in one transaction.
func (m *Manager) applyBatch(ctx context.Context, jobs []change, answers []queue.Answer[struct{}]) error {
	requests := make([]idempotency.Request, len(jobs))
	for i, job := range jobs {
		requests[i] = job.request()
	}
	b := &changeBatch{m: m, jobs: jobs, answers: answers, keys: idempotency.NewBatch(requests)}
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
		answers[repeat].Err = err
	})
	return nil
}

// A changeBatch is one transaction of changes.
type changeBatch struct {
	m       *Manager
	jobs    []change
	answers []queue.Answer[struct{}]
	keys    *idempotency.Batch

	// readFirst makes the next attempt of a batch of adds read the carts first, as edit does.
	readFirst bool

	// undecided has the indexes of the jobs to be decided, in order. Each attempt makes it anew.
	undecided []int
}

// run is one attempt.
func (b *changeBatch) run(ctx context.Context, tx *database.Tx) error {
	clear(b.answers)
	known, fresh, err := b.keys.Find(ctx, tx)
	if err != nil {
		return err
	}
	for i, answer := range known {
		b.answers[i].Err = answer
	}
	b.undecided = slices.DeleteFunc(fresh, func(i int) bool { return b.jobs[i].kind == kindBarrier })
	if err := b.refuseLocked(ctx, tx); err != nil {
		return err
	}
	if len(b.undecided) == 0 {
		return database.ErrNothingToWrite
	}
	write := b.add
	if slices.ContainsFunc(b.undecided, func(i int) bool { return b.jobs[i].kind != kindAdd }) {
		write = b.edit
	}
	if err := write(ctx, tx); err != nil {
		return err
	}
	return b.keys.Store(ctx, tx)
}

// putAnswers notes the undecided jobs' answers for their keys. It returns ErrNothingToWrite when
// there is no key and the jobs changed nothing.
func (b *changeBatch) putAnswers(changed bool) error {
	for _, i := range b.undecided {
		if b.jobs[i].Key != "" {
			b.keys.Put(i, b.m.present(b.answers[i].Err))
		}
	}
	if !changed && b.keys.Empty() {
		return database.ErrNothingToWrite
	}
	return nil
}

// add applies a batch of adds alone.
//
// It writes the lines first, which locks them, and decides then: the decisions are made on what the
// commit writes. This costs one round trip less than reading first. Refused jobs are undone before
// the commit. Where a line may be as large as the column allows, it reads first.
func (b *changeBatch) add(ctx context.Context, tx *database.Tx) error {
	wanted := b.wantedLines()
	large := func(line ClientLine) bool { return line.Quantity > largeQuantity }
	if b.readFirst || slices.ContainsFunc(wanted, large) {
		return b.edit(ctx, tx)
	}
	added, stock, err := b.upsertAndCheck(ctx, tx, wanted)
	if err != nil {
		return err
	}
	refused, err := b.decide(ctx, tx, added, stock)
	if err != nil {
		return err
	}
	if err := b.putAnswers(len(refused) < len(b.undecided)); err != nil {
		return err
	}
	return b.undo(ctx, tx, refused, added)
}

// refuseLocked refuses the jobs whose cart or key another transaction has locked, as far as
// FindLocked asks.
func (b *changeBatch) refuseLocked(ctx context.Context, tx *database.Tx) error {
	clients := make([]string, 0, len(b.undecided))
	var keys []idempotency.Key
	for _, i := range b.undecided {
		clients = append(clients, b.jobs[i].clients()...)
		if key := b.jobs[i].request().Key; !key.None() {
			keys = append(keys, key)
		}
	}
	locked, err := b.m.store.FindLocked(ctx, tx, clients, keys)
	if err != nil {
		return err
	}
	b.undecided = slices.DeleteFunc(b.undecided, func(i int) bool {
		if !slices.ContainsFunc(b.jobs[i].clients(), func(id string) bool { return locked[id] }) {
			return false
		}
		b.answers[i].Err = fmt.Errorf("%w: the cart or its Idempotency-Key", database.ErrRowLocked)
		return true
	})
	return nil
}

// undo removes the refused jobs' units from the lines again. This transaction has the lines locked.
func (b *changeBatch) undo(ctx context.Context, tx *database.Tx, refused []int, added *addedLines) error {
	lines := make([]ClientLine, 0, len(refused))
	for _, i := range refused {
		lines = append(lines, b.jobs[i].line())
	}
	var lower, remove []ClientLine
	for _, line := range mergeLines(lines) {
		line.Quantity = added.quantities[line.key()]
		if line.Quantity > 0 {
			lower = append(lower, line)
		} else {
			remove = append(remove, line)
		}
	}
	batch := tx.Batch()
	setLines(batch, lower)
	deleteLines(batch, remove)
	if err := batch.Send(ctx); err != nil {
		return fmt.Errorf("undo refused adds: %w", err)
	}
	return nil
}

// wasCommitted looks for the keys that the last attempt stored.
func (b *changeBatch) wasCommitted(ctx context.Context, tx *database.Tx) (bool, error) {
	if b.keys.Empty() {
		return false, errors.New("changes without keys leave nothing to look for")
	}
	return b.keys.WasCommitted(ctx, tx)
}

func (c LineChange) line() ClientLine {
	return ClientLine{c.ClientID, inventory.Line{ProductID: c.ProductID, Quantity: c.Quantity}}
}

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
	t := &changeTx{m: m, jobs: jobs, answers: answers, keys: idempotency.NewKeys(jobs, change.request)}
	err := m.db.Transact(ctx,
		func(tx *database.Tx) error { return t.run(ctx, tx) },
		func(tx *database.Tx) (bool, error) { return t.wasCommitted(ctx, tx) })
	if err != nil {
		return err
	}
	for repeat, first := range t.keys.Repeats {
		answers[repeat].Err = answers[first].Err
	}
	return nil
}

// A changeTx is one transaction of changes.
type changeTx struct {
	m       *Manager
	jobs    []change
	answers []queue.Answer[struct{}]
	keys    *idempotency.Keys

	// readFirst makes the next attempt of a batch of adds read the carts first, as edit does.
	readFirst bool

	// remaining has the indexes of the jobs that this attempt decides, in order: all but barriers
	// and those that are known, repeated or locked.
	remaining []int
}

// run is one attempt.
func (t *changeTx) run(ctx context.Context, tx *database.Tx) error {
	clear(t.answers)
	known, fresh, err := t.keys.Find(ctx, tx)
	if err != nil {
		return err
	}
	for i, answer := range known {
		t.answers[i].Err = answer
	}
	t.remaining = slices.DeleteFunc(fresh, func(i int) bool { return t.jobs[i].kind == kindBarrier })
	if t.remaining, err = t.m.store.RefuseLocked(ctx, tx, t.remaining, t.needs, t.refuse); err != nil {
		return err
	}
	if len(t.remaining) == 0 {
		return database.ErrNothingToWrite
	}
	write := t.add
	if slices.ContainsFunc(t.remaining, func(i int) bool { return t.jobs[i].kind != kindAdd }) {
		write = t.edit
	}
	if err := write(ctx, tx); err != nil {
		return err
	}
	return t.keys.Store(ctx, tx)
}

// recordKeyAnswers notes the remaining jobs' answers for their keys. It returns ErrNothingToWrite
// when there is no key and the jobs changed nothing.
func (t *changeTx) recordKeyAnswers(changed bool) error {
	for _, i := range t.remaining {
		if t.jobs[i].Key != "" {
			t.keys.SetAnswer(i, t.m.responseTo(t.answers[i].Err))
		}
	}
	if !changed && t.keys.Empty() {
		return database.ErrNothingToWrite
	}
	return nil
}

// add applies a batch of adds alone.
//
// It writes the lines first, which locks them, and decides then: the decisions are made on what the
// commit writes. This costs one round trip less than reading first. Refused jobs are undone before
// the commit; if all are refused and none has a key, by a rollback. Where it adds many units to a
// line, it reads first: a new line of so many might not fit into the column.
func (t *changeTx) add(ctx context.Context, tx *database.Tx) error {
	wanted := t.lines(t.remaining)
	large := func(line ClientLine) bool { return line.Quantity > largeQuantity }
	if t.readFirst || slices.ContainsFunc(wanted, large) {
		return t.edit(ctx, tx)
	}
	added, stock, err := t.upsertAndReadStock(ctx, tx, wanted)
	if err != nil {
		return err
	}
	refused, err := t.decide(ctx, tx, added, stock)
	if err != nil {
		return err
	}
	if err := t.recordKeyAnswers(len(refused) < len(t.remaining)); err != nil {
		return err
	}
	return t.undo(ctx, tx, refused, added)
}

func (t *changeTx) needs(i int) Needs {
	return Needs{Clients: [2]string{t.jobs[i].ClientID, t.jobs[i].from}, Key: t.keys.Key(i)}
}

func (t *changeTx) refuse(i int, err error) { t.answers[i].Err = err }

// undo removes the refused jobs' units from the lines again. This transaction has the lines locked.
func (t *changeTx) undo(ctx context.Context, tx *database.Tx, refused []int, added *addedLines) error {
	var lower, remove []ClientLine
	for _, line := range t.lines(refused) {
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
func (t *changeTx) wasCommitted(ctx context.Context, tx *database.Tx) (bool, error) {
	if t.keys.Empty() {
		return false, errors.New("changes without keys leave nothing to look for")
	}
	return t.keys.WasCommitted(ctx, tx)
}

func (c LineChange) line() ClientLine {
	return ClientLine{c.ClientID, inventory.Line{ProductID: c.ProductID, Quantity: c.Quantity}}
}

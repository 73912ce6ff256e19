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

// errNothingToWrite rolls a transaction back whose answers are final and which has nothing to
// commit.
var errNothingToWrite = errors.New("nothing to write")

// An addBatch is one transaction of adds.
//
// It writes the lines first, which locks them, and decides then: the decisions are made on what the
// commit writes. This costs one round trip less than reading first. Refused jobs are undone before
// the commit.
type addBatch struct {
	lines   *Lines
	stock   stock
	present func(error) idempotency.Response
	jobs    []Addition
	answers []queue.Answer[struct{}]
	keys    *idempotency.Batch

	// readFirst makes the next attempt read all lines before it adds to them: see addedLines.
	readFirst bool

	// live has the indexes of the jobs to be decided, in order. Each attempt makes it anew.
	live []int
}

// run is one attempt.
func (b *addBatch) run(ctx context.Context, tx *database.Tx) error {
	clear(b.answers)
	known, fresh, err := b.keys.Find(ctx, tx)
	if err != nil {
		return err
	}
	for i, answer := range known {
		b.answers[i].Err = answer
	}
	b.live = fresh
	if err := b.refuseLocked(ctx, tx); err != nil {
		return err
	}
	if len(b.live) == 0 {
		return errNothingToWrite
	}
	added, stock, err := b.addLines(ctx, tx)
	if err != nil {
		return err
	}
	refused, err := b.decide(ctx, tx, added, stock)
	if err != nil {
		return err
	}
	for _, i := range b.live {
		if b.jobs[i].Key != "" {
			b.keys.Put(i, b.present(b.answers[i].Err))
		}
	}
	if len(refused) == len(b.live) && b.keys.Empty() {
		return errNothingToWrite
	}
	if err := b.undo(ctx, tx, refused, added); err != nil {
		return err
	}
	return b.keys.Store(ctx, tx)
}

// refuseLocked refuses the jobs whose cart or key another transaction has locked, as far as that is
// known or suspected.
func (b *addBatch) refuseLocked(ctx context.Context, tx *database.Tx) error {
	clients := make([]string, 0, len(b.live))
	var keys []idempotency.Key
	for _, i := range b.live {
		clients = append(clients, b.jobs[i].ClientID)
		if key := b.jobs[i].request().Key; !key.None() {
			keys = append(keys, key)
		}
	}
	locked, err := b.lines.LockedOf(ctx, tx, clients, keys)
	if err != nil {
		return err
	}
	b.live = slices.DeleteFunc(b.live, func(i int) bool {
		if !locked[b.jobs[i].ClientID] {
			return false
		}
		b.answers[i].Err = fmt.Errorf("%w: the cart", database.ErrRowLocked)
		return true
	})
	return nil
}

// undo takes the refused jobs' units out of the lines again. The transaction has the lines locked.
func (b *addBatch) undo(ctx context.Context, tx *database.Tx, refused []int, added *addedLines) error {
	lines := make([]ClientLine, 0, len(refused))
	for _, i := range refused {
		lines = append(lines, b.jobs[i].line())
	}
	var lower, remove []ClientLine
	for _, line := range mergeLines(lines) {
		line.Quantity = added.quantity[line.key()]
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

// committed looks for the keys that the last attempt stored.
func (b *addBatch) committed(ctx context.Context, tx *database.Tx) (bool, error) {
	if b.keys.Empty() {
		return false, errors.New("adds without keys leave nothing to look for")
	}
	return b.keys.Committed(ctx, tx)
}

func (a Addition) line() ClientLine {
	return ClientLine{a.ClientID, inventory.Line{ProductID: a.ProductID, Quantity: a.Quantity}}
}

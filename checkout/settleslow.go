package checkout

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cartwheel/database"
	"cartwheel/inventory"
)

// suspects returns the included checkouts, sorted, whose journal rows another transaction may keep
// locked: all after a lock wait timed out, else those that were found locked lately. They are not
// waited for: the products are locked by the time the journal is written, and everyone who buys
// them would wait as well.
func (b *settleBatch) suspects(tx *database.Tx) []string {
	ids := b.includedIDs()
	if !tx.AfterLockTimeout() {
		_, ids = b.m.lockedEntries.Split(ids)
	}
	slices.Sort(ids)
	return ids
}

func (b *settleBatch) includedIDs() []string {
	return database.IDs(b.included, func(i int) string { return b.jobs[i].claim.id })
}

// checkClaims answers the jobs whose claims are lost with the journal's state. It leaves out the
// suspects whose rows are locked.
func (b *settleBatch) checkClaims(ctx context.Context, tx *database.Tx, suspects []string) error {
	entries, err := entriesByID(ctx, tx, b.includedIDs())
	if err != nil {
		return err
	}
	free, err := entriesSkipLocked(ctx, tx, suspects)
	if err != nil {
		return err
	}
	for _, id := range suspects {
		_, isThere := entries[id]
		_, isFree := free[id]
		b.m.lockedEntries.Found(id, isThere && !isFree)
	}
	b.included = slices.DeleteFunc(b.included, func(i int) bool {
		c := b.jobs[i].claim
		entry, found := entries[c.id]
		_, suspected := slices.BinarySearch(suspects, c.id)
		_, isFree := free[c.id]
		switch {
		case !found:
			b.answers[i].Err = ErrNotFound
		case entry.State != c.state || entry.Epoch != c.epoch:
			b.answers[i].Value = journalResult{entry.State, entry.Epoch, entry.Reason, false}
		case suspected && !isFree:
			b.answers[i].Err = fmt.Errorf("%w: checkout %s", database.ErrRowLocked, c.id)
		default:
			return false
		}
		return true
	})
	return nil
}

// checkStock turns the jobs for which the quantity on hand does not suffice into refunds, and
// leaves out those whose products another transaction has locked. The claims were checked before.
// The units of cancelled checkouts are on hand before anything is sold.
func (b *settleBatch) checkStock(ctx context.Context, tx *database.Tx) error {
	var products []string
	for _, i := range b.included {
		if b.sells(i) || b.to[i] == Cancelled {
			for _, line := range b.jobs[i].claim.lines {
				products = append(products, line.ProductID)
			}
		}
	}
	stock, err := b.m.stock.Lock(ctx, tx, products)
	if err != nil {
		return err
	}
	if err := b.restock(ctx, tx, stock); err != nil {
		return err
	}
	b.included = slices.DeleteFunc(b.included, func(i int) bool {
		if !b.sells(i) {
			return false
		}
		err := stock.TrySell(b.jobs[i].claim.lines)
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

// sells reports whether a job lowers the quantity on hand. One that ends a refused cancellation
// does not.
func (b *settleBatch) sells(i int) bool {
	return b.to[i] == Committed && b.jobs[i].claim.state == Reserved
}

// restock adds the units of the cancelled checkouts to the quantity on hand. It leaves out those
// whose products another transaction has locked.
func (b *settleBatch) restock(ctx context.Context, tx *database.Tx, stock *inventory.Stock) (err error) {
	var lines []inventory.Line
	b.included = slices.DeleteFunc(b.included, func(i int) bool {
		if b.to[i] != Cancelled {
			return false
		}
		of := b.jobs[i].claim.lines
		if err := stock.CheckUnlocked(of); err != nil {
			b.answers[i].Err = err
			return true
		}
		lines = append(lines, of...)
		return false
	})
	b.surplus, err = b.m.stock.Restock(ctx, tx, stock, lines)
	return err
}

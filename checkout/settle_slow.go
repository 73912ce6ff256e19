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
func (t *settleTx) suspects(tx *database.Tx) []string {
	ids := t.includedIDs()
	if !tx.AfterLockTimeout() {
		_, ids = t.m.lockedEntries.Split(ids)
	}
	slices.Sort(ids)
	return ids
}

func (t *settleTx) includedIDs() []string {
	return database.IDs(t.included, func(i int) string { return t.jobs[i].claim.id })
}

// checkClaims answers the jobs whose claims are lost with the journal's state. It leaves out the
// suspects whose rows are locked.
func (t *settleTx) checkClaims(ctx context.Context, tx *database.Tx, suspects []string) error {
	entries, err := entriesByID(ctx, tx, t.includedIDs(), "")
	if err != nil {
		return err
	}
	unlocked, err := entriesByID(ctx, tx, suspects, tx.ForUpdateSkipLocked())
	if err != nil {
		return err
	}
	locked := make(map[string]bool, len(suspects))
	for _, id := range suspects {
		_, isThere := entries[id]
		_, isUnlocked := unlocked[id]
		locked[id] = isThere && !isUnlocked
		t.m.lockedEntries.Found(id, locked[id])
	}
	t.included = slices.DeleteFunc(t.included, func(i int) bool {
		c := t.jobs[i].claim
		entry, found := entries[c.id]
		switch {
		case !found:
			t.answers[i].Err = ErrNotFound
		case entry.State != c.state || entry.Epoch != c.epoch:
			t.answers[i].Value = journalResult{entry.State, entry.Epoch, entry.Reason, false}
		case locked[c.id]:
			t.answers[i].Err = fmt.Errorf("%w: checkout %s", database.ErrRowLocked, c.id)
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
func (t *settleTx) checkStock(ctx context.Context, tx *database.Tx) error {
	var products []string
	for _, i := range t.included {
		if t.sells(i) || t.to[i] == Cancelled {
			for _, line := range t.jobs[i].claim.lines {
				products = append(products, line.ProductID)
			}
		}
	}
	stock, err := t.m.stock.Lock(ctx, tx, products)
	if err != nil {
		return err
	}
	if err := t.restock(ctx, tx, stock); err != nil {
		return err
	}
	t.included = slices.DeleteFunc(t.included, func(i int) bool {
		if !t.sells(i) {
			return false
		}
		err := stock.TrySell(t.jobs[i].claim.lines)
		switch {
		case errors.Is(err, inventory.ErrShort):
			t.to[i] = Refunding
		case err != nil:
			t.answers[i].Err = err
			return true
		}
		return false
	})
	return nil
}

// sells reports whether a job lowers the quantity on hand. One that ends a refused cancellation
// does not.
func (t *settleTx) sells(i int) bool {
	return t.to[i] == Committed && t.jobs[i].claim.state == Reserved
}

// restock adds the units of the cancelled checkouts to the quantity on hand. It leaves out those
// whose products another transaction has locked.
func (t *settleTx) restock(ctx context.Context, tx *database.Tx, stock *inventory.Stock) (err error) {
	var lines []inventory.Line
	t.included = slices.DeleteFunc(t.included, func(i int) bool {
		if t.to[i] != Cancelled {
			return false
		}
		of := t.jobs[i].claim.lines
		if err := stock.CheckUnlocked(of); err != nil {
			t.answers[i].Err = err
			return true
		}
		lines = append(lines, of...)
		return false
	})
	t.stockOverflow, err = t.m.stock.Restock(ctx, tx, stock, lines)
	return err
}

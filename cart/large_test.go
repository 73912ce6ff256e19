package cart_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

// countAttempts returns a stock that counts the attempts of transactions.
func countAttempts(attempts *atomic.Int64) func(*managerConfig) {
	return func(c *managerConfig) { c.stock = &countedStock{c.stock, attempts} }
}

type countedStock struct {
	checker
	attempts *atomic.Int64
}

func (c *countedStock) ReadLevels(b *database.Batch, ids []string) *inventory.Stock {
	c.attempts.Add(1)
	return c.checker.ReadLevels(b, ids)
}

func TestAddBatch_aQuantityThatOverflowsCostsTheOthersNoRetry(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 100)
		putLine(t, db, "eve", "mug", 5)
		var attempts atomic.Int64
		m := newManager(t, db, countAttempts(&attempts))
		wantBatch(t, m, []cart.LineChange{
			addition("ann", "mug", 1), addition("eve", "mug", cart.MaxQuantity), addition("eve", "mug", 2),
			addition("fay", "mug", cart.MaxQuantity), addition("fay", "mug", cart.MaxQuantity), addition("zoe", "mug", 3),
		}, nil, short("mug", 5+cart.MaxQuantity, 100), nil,
			short("mug", cart.MaxQuantity, 100), short("mug", cart.MaxQuantity, 100), nil)
		if n := attempts.Load(); n != 1 {
			t.Errorf("the batch took %d attempts, want 1", n)
		}
		for client, want := range map[string]map[string]int64{"ann": {"mug": 1}, "eve": {"mug": 7}, "fay": {}, "zoe": {"mug": 3}} {
			wantCart(t, db, client, want)
		}
	})
}

func TestAddBatch_aFullLineCostsTheOthersOneRetry(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "pixel", cart.MaxQuantity)
		putProduct(t, db, "mug", 100)
		putLine(t, db, "eve", "pixel", cart.MaxQuantity)
		putLine(t, db, "fay", "pixel", cart.MaxQuantity-3)
		var attempts atomic.Int64
		m := newManager(t, db, countAttempts(&attempts))
		wantBatch(t, m, []cart.LineChange{
			addition("ann", "mug", 1), addition("eve", "pixel", 1), addition("fay", "pixel", 2), addition("fay", "pixel", 2),
			addition("fay", "pixel", 1),
		}, nil, short("pixel", cart.MaxQuantity+1, cart.MaxQuantity), nil, short("pixel", cart.MaxQuantity+1, cart.MaxQuantity), nil)
		if n := attempts.Load(); n != 2 {
			t.Errorf("the batch took %d attempts, want 2", n)
		}
		wantCart(t, db, "ann", map[string]int64{"mug": 1})
		wantCart(t, db, "eve", map[string]int64{"pixel": cart.MaxQuantity})
		wantCart(t, db, "fay", map[string]int64{"pixel": cart.MaxQuantity})
	})
}

func TestLines_restoreCapsALineThatWouldOverflow(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putLine(t, db, "ann", "mug", cart.MaxQuantity-2)
		lines := []cart.ClientLine{clientLine("ann", "mug", 5), clientLine("bob", "mug", 1)}
		errFull := errors.New("a line is full")
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			var full func() bool
			err := databasetest.Send(t.Context(), tx, func(b *database.Batch) { full = new(cart.Store).Restore(b, lines) })
			if err == nil && full() {
				err = errFull
			}
			return err
		}, nil)
		if !errors.Is(err, errFull) {
			t.Errorf("Restore of too many units: %v, want that %v", err, errFull)
		}
		var lost []cart.ClientLine
		transact(t, db, func(tx *database.Tx) (err error) {
			b := tx.Batch()
			if lost, err = new(cart.Store).LockAndRestore(t.Context(), b, lines); err != nil {
				return err
			}
			return b.Send(t.Context())
		})
		if len(lost) != 1 || lost[0] != clientLine("ann", "mug", 3) {
			t.Errorf("lost %v, want 3 units of ann's line", lost)
		}
		wantCart(t, db, "ann", map[string]int64{"mug": cart.MaxQuantity})
		wantCart(t, db, "bob", map[string]int64{"mug": 1})
	})
}

func TestLines_lockServesCartsInTheOrderGiven(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		clients := []string{"zoe", "c5", "c4", "c3", "c2", "c1", "ann"}
		for _, client := range clients {
			n := 499
			if client == "zoe" || client == "ann" {
				n = 1
			}
			putLines(t, db, client, n)
		}
		transact(t, db, func(tx *database.Tx) error {
			carts, deferred, err := new(cart.Store).Lock(t.Context(), tx, clients)
			if err != nil {
				return err
			}
			for client, lines := range map[string]int{"zoe": 1, "c5": 499, "c4": 499, "c3": 499, "c2": 499, "c1": 0, "ann": 1} {
				if got := len(carts[client]); got != lines || deferred[client] != (lines == 0) {
					t.Errorf("%s: %d lines locked, want %d; deferred: %v", client, got, lines, deferred[client])
				}
			}
			return nil
		})
	})
}

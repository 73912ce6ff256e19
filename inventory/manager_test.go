package inventory_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"
)

func TestStock_checkAndLockReadOnHandAndReserved(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		put(t, db, "mug", 10)
		put(t, db, "Mug", 3) // another product: case counts
		put(t, db, "null", nil)
		hold(t, db, "c1", "mug", 4)
		hold(t, db, "c2", "mug", 1)
		execute(t, db, "INSERT INTO reserve_purchase (reserve_id, product_id, quantity) VALUES ('old', 'mug', NULL), ('older', NULL, 3)")
		m := inventory.New(db)
		want := map[string]inventory.Level{"mug": {OnHand: 10, Reserved: 5}, "Mug": {OnHand: 3}, "null": {}}
		ids := []string{"null", "mug", "Mug", "mug", "gone"}
		transact(t, db, func(tx *database.Tx) error {
			for name, look := range map[string]func() (*inventory.Stock, error){
				"Check": func() (*inventory.Stock, error) { return check(t, tx, m, ids...) },
				"Lock":  func() (*inventory.Stock, error) { return m.Lock(t.Context(), tx, ids) },
			} {
				stock, err := look()
				if err != nil {
					return err
				}
				for id, want := range want {
					if got, ok := stock.Level(id); !ok || got != want {
						t.Errorf("%s of %s: got %+v, %v, want %+v", name, id, got, ok, want)
					}
				}
				if _, ok := stock.Level("gone"); ok {
					t.Errorf("%s knows a product that does not exist", name)
				}
			}
			return nil
		})
	})
}

func TestStock_readsManyProductsInSeveralStatements(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		ids := make([]string, 0, 2*database.ChunkRows+1)
		bought := inventory.Reservation{CheckoutID: "c"}
		for i := range cap(ids) {
			ids = append(ids, name("p", i))
			put(t, db, ids[i], i)
			bought.Lines = append(bought.Lines, inventory.Line{ProductID: ids[i], Quantity: int64(i)})
		}
		m := inventory.New(db)
		transact(t, db, func(tx *database.Tx) error {
			return databasetest.Send(t.Context(), tx, func(b *database.Batch) { m.Reserve(b, []inventory.Reservation{bought}) })
		})
		for id, level := range levelsOf(t, db, ids...) {
			if level.Reserved != level.OnHand {
				t.Fatalf("%s: got %+v", id, level)
			}
		}
		transact(t, db, func(tx *database.Tx) error { return commit(t, tx, m, []inventory.Reservation{bought}) })
		for _, id := range ids {
			wantLevel(t, db, id, inventory.Level{})
		}
	})
}

func TestReserve_thenCommitSells(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		put(t, db, "mug", 10)
		put(t, db, "tea", 5)
		m := inventory.New(db)
		// Two checkouts of one batch buy the same product, in lines of different order.
		bought := []inventory.Reservation{
			{CheckoutID: "c1", Lines: []inventory.Line{{ProductID: "mug", Quantity: 2}, {ProductID: "tea", Quantity: 1}}},
			{CheckoutID: "c2", Lines: []inventory.Line{{ProductID: "tea", Quantity: 4}, {ProductID: "mug", Quantity: 3}}},
		}
		kept := reservation("c3", "mug", 1)
		transact(t, db, func(tx *database.Tx) error {
			return databasetest.Send(t.Context(), tx, func(b *database.Batch) { m.Reserve(b, append(bought, kept)) })
		})
		wantLevel(t, db, "mug", inventory.Level{OnHand: 10, Reserved: 6})
		wantLevel(t, db, "tea", inventory.Level{OnHand: 5, Reserved: 5})

		transact(t, db, func(tx *database.Tx) error { return commit(t, tx, m, bought) })
		wantLevel(t, db, "mug", inventory.Level{OnHand: 5, Reserved: 1})
		wantLevel(t, db, "tea", inventory.Level{})

		transact(t, db, func(tx *database.Tx) error {
			return databasetest.Send(t.Context(), tx, func(b *database.Batch) { m.Release(b, []inventory.Reservation{kept}) })
		})
		transact(t, db, func(tx *database.Tx) error {
			return databasetest.Send(t.Context(), tx, func(b *database.Batch) { m.Release(b, []inventory.Reservation{kept}) })
		})
		wantLevel(t, db, "mug", inventory.Level{OnHand: 5})
	})
}

func TestCommit_failsWhenOnHandWasLowered(t *testing.T) {
	t.Parallel()
	for what, statement := range map[string]string{
		"lowered": "UPDATE product_details SET quantity = 1 WHERE product_id = 'tea'",
		"NULL":    "UPDATE product_details SET quantity = NULL WHERE product_id = 'tea'",
		"deleted": "DELETE FROM product_details WHERE product_id = 'tea'",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			databasetest.Each(t, func(t *testing.T, db *database.DB) {
				put(t, db, "mug", 10)
				put(t, db, "tea", 5)
				m := inventory.New(db)
				bought := []inventory.Reservation{{CheckoutID: "c1", Lines: []inventory.Line{
					{ProductID: "mug", Quantity: 2}, {ProductID: "tea", Quantity: 2},
				}}}
				transact(t, db, func(tx *database.Tx) error {
					return databasetest.Send(t.Context(), tx, func(b *database.Batch) { m.Reserve(b, bought) })
				})
				execute(t, db, statement)
				err := db.Transact(t.Context(), func(tx *database.Tx) error { return commit(t, tx, m, bought) }, nil)
				if !errors.Is(err, inventory.ErrShort) {
					t.Errorf("got %v, want ErrShort", err)
				}
				wantLevel(t, db, "mug", inventory.Level{OnHand: 10, Reserved: 2})
				if _, there := levelsOf(t, db, "tea")["tea"]; there != (what != "deleted") {
					t.Error("the commit brought a deleted product back")
				}
			})
		})
	}
}

func TestCommit_subtractsFromTheCurrentValue(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		put(t, db, "mug", 10)
		hold(t, db, "slow", "mug", 2)
		hold(t, db, "quick", "mug", 3)
		m := inventory.New(db)
		quick := func() {
			transact(t, db, func(tx *database.Tx) error {
				return commit(t, tx, m, []inventory.Reservation{reservation("quick", "mug", 3)})
			})
		}
		if db.Embedded() { // one writer at a time: the other comes between the look and the transaction
			levelsOf(t, db, "mug")
			quick()
			quick = func() {}
		}
		transact(t, db, func(tx *database.Tx) error {
			if _, err := check(t, tx, m, "mug"); err != nil {
				return err
			}
			quick()
			return commit(t, tx, m, []inventory.Reservation{reservation("slow", "mug", 2)})
		})
		wantLevel(t, db, "mug", inventory.Level{OnHand: 5})
	})
}

// reserveOne rows one unit, as a checkout's first transaction does.
func reserveOne(t *testing.T, db *database.DB, m *inventory.Manager, checkoutID, productID string) error {
	one := reservation(checkoutID, productID, 1)
	return db.Transact(t.Context(), func(tx *database.Tx) error {
		stock, err := m.Lock(t.Context(), tx, []string{productID})
		if err != nil {
			return err
		}
		if err := stock.TryReserve(one.Lines); err != nil {
			return err
		}
		return databasetest.Send(t.Context(), tx, func(b *database.Batch) { m.Reserve(b, []inventory.Reservation{one}) })
	}, nil)
}

func TestReserve_doesNotOversell(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		first, second := twoInstances(t, flavour)
		instances := []*database.DB{first, second}
		managers := []*inventory.Manager{inventory.New(first), inventory.New(second)}
		const units, buyers = 40, 64
		put(t, first, "hot", units)
		var sold, given atomic.Int64
		var wg sync.WaitGroup
		for i := range buyers {
			wg.Go(func() {
				db, m := instances[i%2], managers[i%2]
				id := name("c", i)
				switch err := reserveOne(t, db, m, id, "hot"); {
				case errors.Is(err, inventory.ErrNotEnough):
					return
				case err != nil:
					t.Errorf("reserve: %v", err)
					return
				}
				ended := []inventory.Reservation{reservation(id, "hot", 1)}
				if i%4 != 3 {
					sold.Add(1)
					transact(t, db, func(tx *database.Tx) error { return commit(t, tx, m, ended) })
					return
				}
				given.Add(1)
				transact(t, db, func(tx *database.Tx) error {
					return databasetest.Send(t.Context(), tx, func(b *database.Batch) { m.Release(b, ended) })
				})
			})
		}
		wg.Wait()
		if got := sold.Load() + given.Load(); got < units {
			t.Errorf("%d of %d buyers got one of %d units", got, buyers, units)
		}
		if sold.Load() > units {
			t.Errorf("sold %d of %d units", sold.Load(), units)
		}
		wantLevel(t, first, "hot", inventory.Level{OnHand: units - sold.Load()})
	})
}

func TestLock_seesCommittedReservations(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		first, second := twoInstances(t, flavour)
		put(t, first, "hot", 1)
		for i := range 40 { // one unit, two buyers at once, over and over
			var won atomic.Int64
			var wg sync.WaitGroup
			for n, db := range []*database.DB{first, second} {
				wg.Go(func() {
					if err := reserveOne(t, db, inventory.New(db), name("c", i, "-", n), "hot"); err == nil {
						won.Add(1)
					} else if !errors.Is(err, inventory.ErrNotEnough) {
						t.Errorf("reserve: %v", err)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Fatalf("round %d: %d buyers got the one unit", i, won.Load())
			}
			execute(t, first, "DELETE FROM reserve_purchase")
		}
	})
}

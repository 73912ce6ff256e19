package inventory_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"
)

// restock returns lines to what is on hand, in one transaction.
func restock(t *testing.T, db *database.DB, m *inventory.Manager, lines ...inventory.Line) (lost []inventory.Line) {
	t.Helper()
	ids := make([]string, len(lines))
	for i, line := range lines {
		ids[i] = line.ProductID
	}
	var stock *inventory.Stock
	transact(t, db, func(tx *database.Tx) (err error) {
		if stock, err = m.Lock(t.Context(), tx, ids); err == nil {
			lost, err = m.Restock(t.Context(), tx, stock, lines)
		}
		return err
	})
	for _, id := range ids { // what the transaction knows is what it stored
		want, _ := stock.Level(id)
		wantLevel(t, db, id, want)
	}
	return lost
}

func TestRestock_addsTheUnitsOfAllLines(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		put(t, db, "mug", 10)
		put(t, db, "null", nil)
		put(t, db, "tea", 1)
		hold(t, db, "c", "mug", 4)
		lost := restock(t, db, inventory.New(db), inventory.Line{ProductID: "tea", Quantity: 2},
			inventory.Line{ProductID: "mug", Quantity: 3}, inventory.Line{ProductID: "null", Quantity: 5}, inventory.Line{ProductID: "tea", Quantity: 4})
		if len(lost) != 0 {
			t.Errorf("lost %v", lost)
		}
		wantLevel(t, db, "mug", inventory.Level{OnHand: 13, Reserved: 4})
		wantLevel(t, db, "tea", inventory.Level{OnHand: 7})
		wantLevel(t, db, "null", inventory.Level{OnHand: 5})
	})
}

func TestRestock_recreatesAProductThatIsGone(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		execute(t, db, "INSERT INTO product_details (product_id, product_name, quantity) VALUES ('mug', 'Mug', 1)")
		restock(t, db, inventory.New(db), inventory.Line{ProductID: "gone", Quantity: 2}, inventory.Line{ProductID: "mug", Quantity: 1})
		wantLevel(t, db, "gone", inventory.Level{OnHand: 2})
		var names []string
		if err := db.Read(t.Context(), func(tx *database.Tx) error {
			return tx.Select(t.Context(), &names, "SELECT COALESCE(product_name, 'NULL') FROM product_details ORDER BY product_id")
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"NULL", "Mug"}, names); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
	})
}

func TestRestock_capsAtTheMaximumAndReportsTheSurplus(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		put(t, db, "mug", inventory.MaxOnHand-2)
		put(t, db, "tea", inventory.MaxOnHand)
		put(t, db, "full", inventory.MaxOnHand-1)
		lost := restock(t, db, inventory.New(db), inventory.Line{ProductID: "mug", Quantity: 5},
			inventory.Line{ProductID: "tea", Quantity: 7}, inventory.Line{ProductID: "full", Quantity: 1})
		if diff := cmp.Diff([]inventory.Line{{ProductID: "mug", Quantity: 3}, {ProductID: "tea", Quantity: 7}}, lost); diff != "" {
			t.Errorf("lost (-want +got):\n%s", diff)
		}
		for _, id := range []string{"mug", "tea", "full"} {
			wantLevel(t, db, id, inventory.Level{OnHand: inventory.MaxOnHand})
		}
	})
}

func TestRestock_incrementsTheGuardInAClusterOnly(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		put(t, db, "mug", 1)
		put(t, db, "tea", 1)
		for _, m := range managers(db) {
			restock(t, db, m, inventory.Line{ProductID: "tea", Quantity: 1}, inventory.Line{ProductID: "mug", Quantity: 1})
		}
		var guards []string
		if err := db.Read(t.Context(), func(tx *database.Tx) error {
			return tx.Select(t.Context(), &guards, "SELECT CONCAT(product_id, version) FROM product_guard ORDER BY product_id")
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"mug1", "tea1"}, guards); diff != "" {
			t.Errorf("guards (-want +got):\n%s", diff)
		}
	})
}

// Restocks of many products, in any order, lock them in the order of their IDs.
func TestRestock_thoseInOppositeOrdersReachNoDeadlock(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		first, second := twoInstances(t, flavour)
		var up, down []inventory.Line
		for i := range 50 {
			put(t, first, fmt.Sprintf("p%02d", i), 0)
			up = append(up, inventory.Line{ProductID: fmt.Sprintf("p%02d", i), Quantity: 1})
		}
		down = slices.Clone(up)
		slices.Reverse(down)
		attempts := atomic.Int64{}
		var both sync.WaitGroup
		for db, lines := range map[*database.DB][]inventory.Line{first: up, second: down} {
			both.Go(func() {
				for range 20 {
					if err := db.Transact(t.Context(), func(tx *database.Tx) error {
						attempts.Add(1)
						ids := make([]string, len(lines))
						for i, line := range lines {
							ids[i] = line.ProductID
						}
						m := inventory.New(db)
						stock, err := m.Lock(t.Context(), tx, ids)
						if err == nil {
							_, err = m.Restock(t.Context(), tx, stock, lines)
						}
						return err
					}, nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
		both.Wait()
		if n := attempts.Load(); n != 40 {
			t.Errorf("40 restocks took %d attempts", n)
		}
		wantLevel(t, first, "p25", inventory.Level{OnHand: 40})
	})
}

func TestStock_freeNamesALockedProduct(t *testing.T) {
	t.Parallel()
	stock := inventory.NewStock(map[string]inventory.Level{"mug": {}}, "tea")
	if err := stock.CheckUnlocked([]inventory.Line{{ProductID: "mug"}, {ProductID: "gone"}}); err != nil {
		t.Errorf("got %v, want that they are free", err)
	}
	err := stock.CheckUnlocked([]inventory.Line{{ProductID: "mug"}, {ProductID: "tea"}})
	if !errors.Is(err, database.ErrRowLocked) || !strings.Contains(err.Error(), `"tea"`) {
		t.Errorf("got %v, want that tea is locked", err)
	}
}

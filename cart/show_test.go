package cart_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

func TestShow_hasNamesAvailabilityAndETag(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		execute(t, db, "INSERT INTO product_details (product_id, product_name, quantity) VALUES ('tea', 'Grüner Tee', 5), ('pen', NULL, NULL)")
		execute(t, db, "INSERT INTO reserve_purchase (reserve_id, product_id, quantity) VALUES ('c:1', 'tea', 2)")
		for product, quantity := range map[string]any{"tea": 4, "pen": 1, "gone": 2, "zero": 0, "null": nil} {
			putLine(t, db, "ann", product, quantity)
		}
		m := newManager(t, db)
		want := cart.View{
			Lines: []cart.ViewLine{
				{ProductID: "gone", Quantity: 2}, {ProductID: "pen", Quantity: 1},
				{ProductID: "tea", ProductName: "Grüner Tee", Quantity: 4, Available: 3},
			},
			CheckoutUnderWay: true,
			ETag:             cart.ETag([]inventory.Line{{ProductID: "gone", Quantity: 2}, {ProductID: "pen", Quantity: 1}, {ProductID: "tea", Quantity: 4}}),
		}
		got, err := m.Show(t.Context(), "ann")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		nobody, err := m.Show(t.Context(), "nobody")
		if diff := cmp.Diff(cart.View{Lines: []cart.ViewLine{}, ETag: cart.ETag(nil)}, nobody); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

// One read shows many callers' carts: each must get its own.
func TestShow_callersAtOnceGetTheirOwnCarts(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		const clients, callers = 100, 400
		putProducts(t, db, clients, 1000)
		for i := range clients {
			putLine(t, db, fmt.Sprint("client ", i), product(i), 1+i)
		}
		m := newManager(t, db)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				want := []cart.ViewLine{{ProductID: product(i % clients), Quantity: int64(1 + i%clients), Available: 1000}}
				got, err := m.Show(t.Context(), fmt.Sprint("client ", i%clients))
				if err != nil || len(got.Lines) != 1 {
					t.Errorf("caller %d: %v, %+v", i, err, got)
					return
				}
				if diff := cmp.Diff(want, got.Lines, cmpopts.IgnoreFields(cart.ViewLine{}, "ProductName")); diff != "" || got.CheckoutUnderWay {
					t.Errorf("caller %d (-want +got):\n%s", i, diff)
				}
			})
		}
		wg.Wait()
	})
}

// A cart that was answered must be in the next read, whichever batch that is in.
func TestShow_hasWhatWasAddedBefore(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 1_000_000)
		m := newManager(t, db)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				client := fmt.Sprint("client ", i)
				for n := int64(1); n <= 20; n++ {
					if err := m.AddToCart(t.Context(), addition(client, "mug", 1)); err != nil {
						t.Error(err)
						return
					}
					if got, err := m.Show(t.Context(), client); err != nil || len(got.Lines) != 1 || got.Lines[0].Quantity != n {
						t.Errorf("%s: %+v, %v, want %d mugs", client, got.Lines, err, n)
					}
				}
			})
		}
		wg.Wait()
	})
}

// SQLite stores what a manual edit multiplied by 1.5 as it is.
func TestShow_cartThatCannotBeReadIsAloneWithIt(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	putProduct(t, db, "mug", 10)
	for i := range 8 { // of which some share a worker with bob
		putLine(t, db, fmt.Sprint("ann ", i), "mug", 1)
	}
	execute(t, db, "INSERT INTO client_cart (client_id, product_id, quantity) VALUES ('bob', 'mug', 1.5)")
	m := newManager(t, db)
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			if view, err := m.Show(t.Context(), fmt.Sprint("ann ", i%8)); err != nil || len(view.Lines) != 1 {
				t.Errorf("ann's cart: %+v, %v", view, err)
			}
		})
		wg.Go(func() {
			if _, err := m.Show(t.Context(), "bob"); err == nil {
				t.Error("bob's cart was read")
			}
		})
	}
	wg.Wait()
}

// A checkout may begin before the lines are read, or end while they are.
func TestShow_looksForCheckoutsBeforeAndAfterTheLines(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for moment := 1; moment <= 2; moment++ {
			calls := 0
			views, err := cart.Views(t.Context(), db, inventory.New(db), func(_ *database.Batch, clients []string, found map[string]bool) {
				if calls++; calls == moment {
					found[clients[0]] = true
				}
			}, []string{"ann"})
			if err != nil || !views["ann"].CheckoutUnderWay {
				t.Errorf("the checkout that look %d finds is not shown: %+v, %v", moment, views, err)
			}
		}
	})
}

// Audits take seconds, and have few connections.
func TestShow_isAnsweredBesideAudits(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		m := newManager(t, db)
		beside(t, db, 2, func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if _, err := m.Show(ctx, "ann"); err != nil {
				t.Errorf("the cart cannot be shown: %v", err)
			}
		})
	})
}

// beside runs do while that many snapshots are open.
func beside(t *testing.T, db *database.DB, snapshots int, do func()) {
	t.Helper()
	if snapshots == 0 {
		do()
		return
	}
	if err := db.Snapshot(t.Context(), func(*database.Tx) error {
		beside(t, db, snapshots-1, do)
		return nil
	}); err != nil {
		t.Errorf("snapshot: %v", err)
	}
}

package inventory_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

func listed(t *testing.T, db *database.DB) []inventory.Product {
	t.Helper()
	var products []inventory.Product
	err := inventory.New(db).List(t.Context(), func(p inventory.Product) error {
		products = append(products, p)
		return nil
	})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return products
}

func TestList_tellsWhatIsOnHandAndReserved(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		imported(t, db, inventory.Import{}, header+"tea,Grüner Tee,5\nmug,Mug 100%,10\nMUG2,Other,1\n")
		put(t, db, "null", nil)
		execute(t, db, "UPDATE product_details SET product_name = NULL WHERE product_id = 'null'")
		hold(t, db, "c", "mug", 8)
		want := []inventory.Product{
			{ID: "MUG2", Name: "Other", Level: inventory.Level{OnHand: 1}},
			{ID: "mug", Name: "Mug 100%", Level: inventory.Level{OnHand: 10, Reserved: 8}},
			{ID: "null"},
			{ID: "tea", Name: "Grüner Tee", Level: inventory.Level{OnHand: 5}},
		}
		if diff := cmp.Diff(want, listed(t, db)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestLowest_sortsByAvailable(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		imported(t, db, inventory.Import{}, header+"tea,Green tea,5\nmug,Mug 100%,10\nMUG2,Other,1\ncup,Cup,5\n")
		put(t, db, "null", nil)
		execute(t, db, "UPDATE product_details SET product_name = NULL WHERE product_id = 'null'")
		hold(t, db, "c", "mug", 8)
		hold(t, db, "d", "mug", 1)
		mug := inventory.Product{ID: "mug", Name: "Mug 100%", Level: inventory.Level{OnHand: 10, Reserved: 9}}
		mug2 := inventory.Product{ID: "MUG2", Name: "Other", Level: inventory.Level{OnHand: 1}}
		tea := inventory.Product{ID: "tea", Name: "Green tea", Level: inventory.Level{OnHand: 5}}
		cup := inventory.Product{ID: "cup", Name: "Cup", Level: inventory.Level{OnHand: 5}}
		null := inventory.Product{ID: "null"}
		for limit, want := range map[int][]inventory.Product{9: {null, mug2, mug, cup, tea}, 2: {null, mug2}} {
			got, err := inventory.New(db).Lowest(t.Context(), limit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the lowest %d (-want +got):\n%s", limit, diff)
			}
		}
	})
}

func TestList_pagesThroughProducts(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for _, n := range []int{0, 1, 999, 1000, 1001, 2500} {
			imported(t, db, inventory.Import{}, lines(n, 1))
			products := listed(t, db)
			sorted := slices.IsSortedFunc(products, func(a, b inventory.Product) int {
				if a.ID < b.ID {
					return -1
				}
				return 1
			})
			if len(products) != n || !sorted {
				t.Errorf("%d of %d products listed, sorted: %v", len(products), n, sorted)
			}
		}
		enough := errors.New("enough")
		calls := 0
		err := inventory.New(db).List(t.Context(), func(inventory.Product) error {
			calls++
			return enough
		})
		if !errors.Is(err, enough) || calls != 1 {
			t.Errorf("got %v after %d calls, want it to end with the first", err, calls)
		}
	})
}

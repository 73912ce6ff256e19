package inventory_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cartwheel/database"
	"cartwheel/inventory"
)

// The model of a stock is a plain map: what is decided is decided on it line by line, on a copy
// that replaces it only when all lines fit.
func TestStock_decidesAllOrNothing(t *testing.T) {
	t.Parallel()
	ids := []string{"a", "b", "c", "gone", "locked"}
	rapid.Check(t, func(t *rapid.T) {
		model := map[string]inventory.Level{}
		for _, id := range []string{"a", "b", "c"} {
			model[id] = inventory.Level{
				OnHand:   rapid.Int64Range(0, 20).Draw(t, "on hand"),
				Reserved: rapid.Int64Range(0, 20).Draw(t, "reserved"), // more than on hand: lowered by hand
			}
		}
		stock := inventory.NewStock(model, "locked")
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			var lines []inventory.Line
			for _, id := range rapid.Permutation(ids).Draw(t, "products")[:rapid.IntRange(1, 4).Draw(t, "lines")] {
				lines = append(lines, inventory.Line{ProductID: id, Quantity: rapid.Int64Range(1, 12).Draw(t, "quantity")})
			}
			sell := rapid.Bool().Draw(t, "sell")
			next, want := maps.Clone(model), error(nil)
			for _, line := range lines {
				level := next[line.ProductID]
				switch {
				case want != nil:
				case sell && line.Quantity > level.OnHand:
					want = inventory.ErrShort
				case sell:
					level.OnHand -= line.Quantity
					next[line.ProductID] = level
				case line.Quantity > level.Available():
					want = &inventory.NotEnoughError{ProductID: line.ProductID, Wanted: line.Quantity, Available: level.Available()}
				default:
					level.Reserved += line.Quantity
					next[line.ProductID] = level
				}
			}
			for _, line := range lines { // before anything else
				if line.ProductID == "locked" {
					want = fmt.Errorf("%w: the stock of product %q", database.ErrRowLocked, "locked")
				}
			}
			if want == nil {
				model = next
			}

			decide := stock.TryReserve
			if sell {
				decide = stock.TrySell
			}
			if diff := cmp.Diff(want, decide(lines), cmp.Comparer(func(a, b error) bool {
				return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error())
			})); diff != "" {
				t.Fatalf("sell %v %v (-want +got):\n%s", sell, lines, diff)
			}
			for id, want := range model {
				if got, ok := stock.Level(id); !ok || got != want {
					t.Fatalf("after sell %v %v: level of %s is %+v, want %+v", sell, lines, id, got, want)
				}
			}
		}
	})
}

func TestErrors_matchTheirSentinels(t *testing.T) {
	t.Parallel()
	stock := inventory.NewStock(map[string]inventory.Level{"a": {OnHand: 5, Reserved: 2}}, "locked")
	line := func(id string, quantity int64) []inventory.Line {
		return []inventory.Line{{ProductID: id, Quantity: quantity}}
	}
	for _, test := range []struct {
		name string
		err  error
		want error
	}{
		{"short", stock.TryReserve(line("a", 4)), inventory.ErrNotEnough},
		{"gone", stock.TryReserve(line("gone", 1)), inventory.ErrNotEnough},
		{"locked", stock.TryReserve(line("locked", 1)), database.ErrRowLocked},
		{"sold short", stock.TrySell(line("a", 6)), inventory.ErrShort},
		{"sold while locked", stock.TrySell(line("locked", 1)), database.ErrRowLocked},
		{"no product", &inventory.NoProductError{ProductID: "x"}, inventory.ErrNoProduct},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, test.err, test.want)
		}
	}
	if level, _ := stock.Level("a"); level.Available() != 3 {
		t.Errorf("refusals changed the stock: %+v", level)
	}
	if (inventory.Level{OnHand: 1, Reserved: 3}).Available() != 0 {
		t.Error("less than nothing is available")
	}
}

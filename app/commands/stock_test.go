package commands

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/inventory"
)

func TestStockList_lowestFirstEqualsByID(t *testing.T) {
	t.Parallel()
	lowest := lowestAvailable{most: 3}
	for i, available := range []int64{5, 3, 9, 3, 1, 3, 8} {
		p := inventory.Product{ID: string(rune('a' + i)), Level: inventory.Level{OnHand: available + 1, Reserved: 1}}
		if err := lowest.pick(p); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, p := range lowest.products {
		got = append(got, p.ID)
	}
	if diff := cmp.Diff([]string{"e", "b", "d"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

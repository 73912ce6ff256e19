package database_test

import (
	"testing"

	"cartwheel/database"
)

func TestPadRepeatsTheLastItemUntilTheLengthIsOneOfFew(t *testing.T) {
	t.Parallel()
	lengths := map[int]bool{}
	for n := range database.ChunkRows + 1 {
		items := make([]int, n)
		for i := range items {
			items[i] = i
		}
		padded := database.Pad(items)
		if len(padded) < n || (n > 8 && len(padded) > n+n/3) {
			t.Errorf("%d items became %d", n, len(padded))
		}
		for i, item := range padded {
			if want := min(i, n-1); item != want {
				t.Errorf("item %d of %d is %d, want %d", i, n, item, want)
			}
		}
		lengths[len(padded)] = true
	}
	if len(lengths) > 32 {
		t.Errorf("there are %d lengths: each connection keeps a statement for every one", len(lengths))
	}
}

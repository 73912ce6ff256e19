package database_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestPad_repeatsTheLastItem(t *testing.T) {
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

func TestPieces_haveFewLengths(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		lengths := map[int]bool{}
		for n := range 3*database.ChunkRows + 1 {
			items := make([]int, n)
			for i := range items {
				items[i] = i
			}
			var got []int
			pieces := 0
			for piece := range database.Pieces(db.Dialect(), items) {
				got = append(got, piece...)
				lengths[len(piece)] = true
				pieces++
			}
			if diff := cmp.Diff(items, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%d items (-want +got):\n%s", n, diff)
			}
			if pieces > n/database.ChunkRows+4 {
				t.Errorf("%d items are in %d pieces", n, pieces)
			}
		}
		if name := db.Dialect().Name(); name == "sqlite" && len(lengths) > 32 {
			t.Errorf("there are %d lengths: the connection keeps a statement for every one", len(lengths))
		}
	})
}

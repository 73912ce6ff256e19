package checkout_test

import (
	"runtime"
	"slices"
	"testing"

	"cartwheel/checkout"
	"cartwheel/database/databasetest"
)

// While the payment service hangs, thousands of checkouts are polled ten times a second.
//
//nolint:paralleltest // it measures the process's allocations
func TestPoll_readsNoLines(t *testing.T) {
	db := databasetest.Embedded(t)
	const itemsBytes = 8 << 20
	if _, err := db.Setup().ExecContext(t.Context(), "INSERT INTO checkout_journal (checkout_id, client_id, state, epoch, items, created_at, updated_at)"+
		" VALUES ('long', 'ann', 'reserved', 1, printf('[%*s]', ?, ''), '2026-01-01 00:00:00.000', '2026-01-01 00:00:00.000')", itemsBytes); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	states, err := checkout.PollResults(t.Context(), db, "gone", "long")
	runtime.ReadMemStats(&after)
	if err != nil || !slices.Equal(states, []checkout.State{"", checkout.Reserved}) {
		t.Errorf("%q, %v", states, err)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > itemsBytes/2 {
		t.Errorf("it allocated %d bytes, as if for the lines", allocated)
	}
}

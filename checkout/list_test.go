package checkout_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// settledRows writes settled checkouts that are this old, as an old journal has them.
func (s *shop) settledRows(n int, age time.Duration) {
	s.t.Helper()
	d := s.db.Dialect()
	at := time.Now().Add(-age).UnixMilli()
	for from := 0; from < n; from += 500 {
		var rows []string
		for i := from; i < min(n, from+500); i++ {
			id := fmt.Sprintf("%08x-%04x-7000-8000-%012x", at>>16, at&0xffff, i)
			rows = append(rows, fmt.Sprintf("('%s', 'client-%d', 'rolled_back', 1, '[]', 'declined', %s, %s)", id, i%50, d.NowPlus(-age), d.NowPlus(-age)))
		}
		s.exec("INSERT INTO checkout_journal (checkout_id, client_id, state, epoch, items, reason, created_at, updated_at) VALUES " +
			strings.Join(rows, ","))
	}
}

func TestList_pagesThroughTheJournal(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.settledRows(700, 48*time.Hour)
		s.settledRows(20, time.Hour)
		for _, test := range []struct {
			filter checkout.Filter
			want   int
		}{
			{checkout.Filter{}, 720},
			{checkout.Filter{Limit: 300}, 300},
			{checkout.Filter{State: checkout.RolledBack}, 720},
			{checkout.Filter{State: checkout.Committed}, 0},
			{checkout.Filter{State: checkout.Reserved}, 0},
			{checkout.Filter{ClientID: "client-3"}, 15},
			{checkout.Filter{Oldest: true}, 720},
			{checkout.Filter{Since: 49 * time.Hour}, 720},
			{checkout.Filter{Since: 2 * time.Hour}, 20},
		} {
			entries := s.entries(test.filter)
			want(t, fmt.Sprintf("checkouts of %+v", test.filter), len(entries), test.want)
			for i := range entries[min(1, len(entries)):] {
				if newer := entries[i].CheckoutID > entries[i+1].CheckoutID; newer == test.filter.Oldest {
					t.Fatalf("%+v: %s comes before %s", test.filter, entries[i].CheckoutID, entries[i+1].CheckoutID)
				}
			}
		}
	})
}

// A reader that stalls must not keep a read transaction open: the WAL would grow, and MySQL's
// history.
func TestList_holdsNoReadWhileItsReaderStalls(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.settledRows(600, time.Hour)
		seen, added := 0, false
		if err := checkout.List(t.Context(), s.db, checkout.Filter{Oldest: true}, func(checkout.Entry) error {
			if seen++; !added {
				s.settledRows(1, 0) // the next page is a read of its own, and sees it
				added = true
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		want(t, "checkouts", seen, 601)
	})
}

// The open checkouts, the audit and the refunds cost the same however old the journal is.
func TestList_openReadsNoSettledRows(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		s.settledRows(20_000, 48*time.Hour)
		s.exec("ANALYZE TABLE checkout_journal")
		s.stock("book", 5)
		s.add("ada", "book", 1)
		in := s.open(settings{})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)
		for name, filter := range map[string]checkout.Filter{
			"open": {Open: true, Limit: 10}, "refunding": {State: checkout.Refunding, Limit: 10},
		} {
			rows := s.rowsRead(func(tx *database.Tx) error { return checkout.ListOpen(t.Context(), tx, filter) })
			if rows > 50 {
				t.Errorf("%s: the list read %d rows", name, rows)
			}
		}
		held.open(s.ledger.approve)
		wantErr(t, ada.end(), nil)
	})
}

// handlerReads is how many rows the session has read.
func handlerReads(ctx context.Context, tx *database.Tx) (n int64, err error) {
	var counters []struct {
		Name  string `db:"Variable_name"`
		Value int64  `db:"Value"`
	}
	err = tx.Select(ctx, &counters, "SHOW SESSION STATUS LIKE 'Handler_read%'")
	for _, c := range counters {
		n += c.Value
	}
	return n, err
}

// rowsRead is how many rows a transaction's statements read.
func (s *shop) rowsRead(work func(*database.Tx) error) (rows int64) {
	s.t.Helper()
	if err := s.db.Read(s.t.Context(), func(tx *database.Tx) error {
		before, err := handlerReads(s.t.Context(), tx)
		if err != nil {
			return err
		}
		if err := work(tx); err != nil {
			return err
		}
		after, err := handlerReads(s.t.Context(), tx)
		rows = after - before
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	return rows
}

func TestPrune_deletesSettledCheckoutsPastTheirAge(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const day = 24 * time.Hour
		s.settledRows(600, 100*day)
		s.settledRows(10, 80*day)
		s.exec("UPDATE checkout_journal SET lease_expires_at = " + s.db.Dialect().NowPlus(time.Hour) +
			" WHERE checkout_id = (SELECT id FROM (SELECT MIN(checkout_id) AS id FROM checkout_journal) oldest)")
		deleted, err := checkout.Prune(t.Context(), s.db, 90*day)
		if deleted != 599 || err != nil { // more than one transaction deletes
			t.Errorf("deleted %d, %v, want 599", deleted, err)
		}
		want(t, "checkouts", s.number("SELECT COUNT(*) FROM checkout_journal"), 11)
		s.exec("DELETE FROM checkout_journal")
	})
}

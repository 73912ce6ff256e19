package checkout_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// refuseAnswers makes the database refuse every answer to a key, until allow is called.
func (s *shop) refuseAnswers(t *testing.T) (allow func()) {
	t.Helper()
	begin, end := "ALTER TABLE idempotency_key ADD CONSTRAINT no_answers CHECK (http_status IS NULL)", "ALTER TABLE idempotency_key DROP CONSTRAINT no_answers"
	if s.db.Embedded() {
		begin, end = "CREATE TRIGGER no_answers BEFORE UPDATE ON idempotency_key BEGIN SELECT RAISE(ABORT, 'no answers'); END", "DROP TRIGGER no_answers"
	}
	exec := func(statement string) {
		if _, err := s.db.Setup().ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec(begin)
	return func() { exec(end) }
}

func TestSettle_checkoutEndsTogetherWithItsKeysAnswerOrNotAtAll(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		var tries atomic.Int64
		in := s.open(settings{stock: &watchedStock{commit: func(int) { tries.Add(1) }}})
		held := in.till.hold()
		ada := in.beginKeyed("ada", "key")
		held.await(t, 1)
		allow := s.refuseAnswers(t)
		held.open(s.ledger.approve)
		eventually(t, "its end was tried, and again", func() bool { return tries.Load() >= 2 })
		want(t, "state without an answer", s.entry("ada").State, checkout.Reserved)
		want(t, "on hand without an answer", s.onHand("book"), 5)
		want(t, "held without an answer", s.held("book"), 2)
		allow()
		wantErr(t, ada.end(), nil)
		want(t, "status that is stored", s.keyStatus("ada"), 200)
		want(t, "on hand", s.onHand("book"), 3)
	})
}

// A server whose clock is years ahead of ours: its sessions' time stands still there.
func TestSettle_leasesAreByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		settled := databasetest.Open(t, database.Config{MySQLDSN: dsn}) // what looks at the books may have any clock
		way, err := mysql.ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		ahead := time.Unix(2_000_000_000, 0).UTC()
		way.Params = map[string]string{"timestamp": "2000000000"}
		s := newShop(t, settled)
		s.stock("book", 5)
		s.add("ada", "book", 1)
		in := s.open(settings{db: databasetest.Open(t, database.Config{MySQLDSN: way.FormatDSN()})})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)
		if got, want := s.entry("ada").LeaseExpiresAt, ahead.Add(time.Minute); !got.Equal(want) {
			t.Errorf("the lease expires at %v, want %v: a minute later by the database's clock", got, want)
		}
		held.open(s.ledger.approve)
		wantErr(t, ada.end(), nil)
	})
}

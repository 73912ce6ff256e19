package database_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// A witness notes what a database tells.
type witness struct {
	mu      sync.Mutex
	ends    []database.End // under mu
	numbers []string       // under mu
	took    time.Duration  // of the last; under mu
}

func (w *witness) observer() database.Observer {
	return database.Observer{
		Transacted: func(end database.End, took time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ends, w.took = append(w.ends, end), took
		},
		Retry: func(number string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.numbers = append(w.numbers, number)
		},
	}
}

func observed(t *testing.T, cfg database.Config) (*database.DB, *witness) {
	t.Helper()
	w := &witness{}
	cfg.Observe, cfg.Log = w.observer(), databasetest.Log(t)
	db, err := database.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, w
}

func TestObserver_hearsEachEnd(t *testing.T) {
	t.Parallel()
	db, w := observed(t, database.Config{DataDir: t.TempDir()})
	nothing := func(*database.Tx) error { return nil }
	is(t, db.Transact(t.Context(), nothing, nil), nil)
	is(t, db.Transact(t.Context(), func(*database.Tx) error { return errWork }, nil), errWork)
	tries := 0
	is(t, db.Transact(t.Context(), func(*database.Tx) error {
		if tries++; tries < 3 {
			return database.ErrRetry
		}
		return nil
	}, nil), nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	is(t, db.Transact(ended, nothing, nil), database.ErrUnavailable)
	want := []database.End{database.EndCommitted, database.EndRolledBack, database.EndCommitted, database.EndUnavailable}
	if diff := cmp.Diff(want, w.ends); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"stale", "stale"}, w.numbers); diff != "" {
		t.Errorf("further attempts (-want +got):\n%s", diff)
	}
	if w.took <= 0 {
		t.Errorf("the last took %v", w.took)
	}
}

func TestObserver_hearsRetriesWithTheirNumber(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		db, w := observed(t, database.Config{MySQLDSN: dsn})
		tries := 0
		is(t, db.Transact(t.Context(), func(tx *database.Tx) error {
			if tries++; tries == 1 {
				_, err := tx.Exec(t.Context(), "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'deadlock'")
				return err
			}
			return nil
		}, nil), nil)
		if diff := cmp.Diff([]string{"1213"}, w.numbers); diff != "" {
			t.Errorf("further attempts (-want +got):\n%s", diff)
		}
	})
}

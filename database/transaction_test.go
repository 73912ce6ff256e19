package database_test

import (
	"context"
	"database/sql"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"

	"github.com/google/go-cmp/cmp"
)

func TestTransact_commitsWork(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store(t, db, "shoe")
		isStored(t, db, "shoe", true)
		isClean(t, db)
	})
}

func TestTransact_rollsFailedWorkBack(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		attempts := 0
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			attempts++
			if err := insert(t, tx, "shoe", 1); err != nil {
				return err
			}
			return errWork
		}, nil)
		is(t, err, errWork)
		isNot(t, err, database.ErrUnavailable, database.ErrOutcomeUnknown)
		if attempts != 1 {
			t.Errorf("the work ran %d times, want once", attempts)
		}
		isStored(t, db, "shoe", false)
		isClean(t, db)
	})
}

func TestTransact_panicReleasesTheConnection(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for name, leave := range map[string]func(){
			"panic":  func() { panic("the work panicked") },
			"goexit": runtime.Goexit, // t.Fatal in the middle of a transaction
		} {
			var wait sync.WaitGroup
			wait.Go(func() {
				defer func() { _ = recover() }()
				_ = db.Transact(t.Context(), func(tx *database.Tx) error {
					if err := insert(t, tx, "shoe", 1); err != nil {
						return err
					}
					leave()
					return nil
				}, nil)
				t.Errorf("%s: the work returned", name)
			})
			wait.Wait()
			isStored(t, db, "shoe", false)
			isClean(t, db)
		}
	})
}

func TestTransact_retriesADeadlocksVictim(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		store(t, db, "hat", "shoe")
		var both, wait sync.WaitGroup
		both.Add(2)
		attempts := make([]int, 2)
		for i, order := range [][]string{{"hat", "shoe"}, {"shoe", "hat"}} {
			wait.Go(func() {
				err := db.Transact(t.Context(), func(tx *database.Tx) error {
					attempts[i]++
					if err := lock(t, tx, order[0]); err != nil {
						return err
					}
					if attempts[i] == 1 { // each has its first row now
						both.Done()
						both.Wait()
					}
					_, err := tx.Exec(t.Context(), "UPDATE product_details SET quantity = quantity - 1 WHERE product_id = ?", order[1])
					return err
				}, nil)
				if err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		slices.Sort(attempts)
		if diff := cmp.Diff([]int{1, 2}, attempts); diff != "" {
			t.Errorf("how often each ran (-want +got):\n%s", diff)
		}
		if _, got := stored(t, db); !cmp.Equal(got, []int{9, 9}) {
			t.Errorf("the products are at %v, want each lowered once from 10", got)
		}
		isClean(t, db)
	})
}

// execute runs statements on one connection.
func execute(t testing.TB, conn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, statements ...string,
) {
	t.Helper()
	for _, statement := range statements {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func TestTransact_boundsRetries(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		attempts := 0
		transact(t, db, func(tx *database.Tx) error {
			if attempts++; attempts < 3 {
				return database.ErrRetry
			}
			return insert(t, tx, "shoe", 1)
		})
		if attempts != 3 {
			t.Errorf("the work ran %d times, want 3", attempts)
		}
		attempts = 0
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			attempts++
			if err := insert(t, tx, "hat", 1); err != nil {
				return err
			}
			return database.ErrRetry
		}, nil)
		is(t, err, database.ErrUnavailable, database.ErrRetry)
		if attempts != database.MaxAttempts {
			t.Errorf("the work ran %d times, want %d", attempts, database.MaxAttempts)
		}
		isStored(t, db, "hat", false)
		isClean(t, db)
	})
}

func TestTransact_boundsTheTimeOfAttempts(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		db.SetLimits(0, time.Nanosecond, 0)
		attempts := 0
		err := db.Transact(t.Context(), func(*database.Tx) error {
			attempts++
			return database.ErrRetry
		}, nil)
		is(t, err, database.ErrUnavailable)
		if attempts != 1 {
			t.Errorf("the work ran %d times, want once", attempts)
		}
	})
}

func TestTransact_boundsTheTimeOfAnAttempt(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		const limit = 300 * time.Millisecond
		db.SetLimits(limit, 0, 0)
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			if err := insert(t, tx, "shoe", 1); err != nil {
				return err
			}
			<-time.After(limit)
			return insert(t, tx, "hat", 1)
		}, nil)
		is(t, err, database.ErrUnavailable)
		isStored(t, db, "shoe", false)
		isClean(t, db)
	})
}

func TestTransact_silentDatabaseIsNotRetried(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		const limit = 500 * time.Millisecond
		for name, silence := range map[string]func(t *testing.T) *database.DB{
			"embedded, another process keeps the file locked": func(t *testing.T) *database.DB {
				dir := t.TempDir()
				db := databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
				conn, err := databasetest.Open(t, database.Config{DataDir: dir}).Setup().Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				closed(t, conn)
				execute(t, conn, "BEGIN IMMEDIATE")
				return db
			},
			"mysql, nothing comes back": func(t *testing.T) *database.DB {
				db, _, between := proxied(t, flavour)
				between.Silence(true)
				return db
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				db := silence(t)
				db.SetLimits(limit, 0, 0)
				began := time.Now()
				err := db.Transact(t.Context(), func(tx *database.Tx) error { return insert(t, tx, "shoe", 1) }, nil)
				is(t, err, database.ErrUnavailable)
				if took := time.Since(began); took >= 2*limit {
					t.Errorf("it took %v, which is more than one attempt of %v", took, limit)
				}
			})
		}
	})
}

// kill ends a transaction's connection as an operator would.
func kill(t testing.TB, db *database.DB, tx *database.Tx) {
	t.Helper()
	var ids []int64
	if err := tx.Select(t.Context(), &ids, "SELECT connection_id()"); err != nil {
		t.Error(err)
		return
	}
	if _, err := db.Setup().ExecContext(t.Context(), "KILL CONNECTION ?", ids[0]); err != nil {
		t.Error(err)
	}
	eventually(t, "the connection's end", func() bool {
		var alive int
		err := db.Setup().QueryRowContext(t.Context(), "SELECT count(*) FROM information_schema.processlist WHERE id = ?", ids[0]).Scan(&alive)
		return err != nil || alive == 0
	})
}

func TestTransact_retriesABrokenConnection(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		attempts := 0
		transact(t, db, func(tx *database.Tx) error {
			attempts++
			if err := insert(t, tx, "hat", 1); err != nil {
				return err
			}
			if attempts == 1 {
				kill(t, db, tx)
			}
			return insert(t, tx, "shoe", 1)
		})
		if attempts != 2 {
			t.Errorf("the work ran %d times, want twice", attempts)
		}
		if ids, _ := stored(t, db); !cmp.Equal(ids, []string{"hat", "shoe"}) {
			t.Errorf("stored %v, want the hat and the shoe", ids)
		}
		isClean(t, db)
	})
}

func TestTransact_brokenConnectionsAreAnOutage(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		attempts := 0
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			attempts++
			if err := insert(t, tx, "hat", 1); err != nil {
				return err
			}
			kill(t, db, tx)
			return insert(t, tx, "shoe", 1)
		}, nil)
		is(t, err, database.ErrUnavailable)
		isNot(t, err, database.ErrOutcomeUnknown)
		if want := 1 + database.MaxReconnects; attempts != want {
			t.Errorf("the work ran %d times, want %d", attempts, want)
		}
		isStored(t, db, "hat", false)
		isClean(t, db)
	})
}

func TestTransact_contextEndsRetries(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		attempts := 0
		err := db.Transact(ctx, func(tx *database.Tx) error {
			attempts++
			if err := insert(t, tx, "shoe", 1); err != nil {
				return err
			}
			cancel()
			return database.ErrRetry
		}, nil)
		is(t, err, database.ErrUnavailable, context.Canceled)
		if attempts != 1 {
			t.Errorf("the work ran %d times, want once", attempts)
		}
		isStored(t, db, "shoe", false)
		is(t, db.Transact(ctx, func(*database.Tx) error { t.Error("it ran all the same"); return nil }, nil),
			database.ErrUnavailable, context.Canceled)
		isClean(t, db)
	})
}

func TestTransact_contextDoesNotEndACommit(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Transact(ctx, func(tx *database.Tx) error {
			defer cancel()
			return insert(t, tx, "shoe", 1)
		}, nil)
		if err != nil {
			t.Errorf("got error %v, want the commit's answer", err)
		}
		isStored(t, db, "shoe", true)
		isClean(t, db)
	})
}

func TestTransact_failuresLeakNothing(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store(t, db, "shoe")
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		var wait sync.WaitGroup
		for worker := range 4 {
			wait.Go(func() {
				for i := range 250 {
					func() {
						defer func() { _ = recover() }()
						_ = db.Transact(t.Context(), func(tx *database.Tx) error {
							switch (worker + i) % 10 {
							case 0: // costs three connections
								_, err := tx.Exec(canceled, "UPDATE product_details SET quantity = 0")
								return err
							case 1: // one
								panic("the work panicked")
							case 2, 3, 4:
								return errWork
							case 5, 6, 7:
								return insert(t, tx, "shoe", 1) // is there already
							}
							_, err := tx.Exec(t.Context(), "SELECT nonsense")
							return err
						}, nil)
					}()
				}
			})
		}
		wait.Wait()
		stats := db.Stats()
		if limit := stats.MaxOpenConnections; stats.OpenConnections > limit || stats.OpenConnections > 4 {
			t.Errorf("%d connections are open after failures of 4 workers", stats.OpenConnections)
		}
		isClean(t, db)
		if _, quantities := stored(t, db); !cmp.Equal(quantities, []int{10}) {
			t.Errorf("stored %v, want the shoe as it was", quantities)
		}
	})
}

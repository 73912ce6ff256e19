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

func TestWorkThatSucceedsIsCommitted(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store(t, db, "shoe")
		isStored(t, db, "shoe", true)
		isClean(t, db)
	})
}

func TestWorkThatFailsIsRolledBack(t *testing.T) {
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

func TestWorkThatPanicsIsRolledBackAndGivesItsConnectionBack(t *testing.T) {
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

func TestADeadlocksVictimRunsAgain(t *testing.T) {
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

// impatient makes the transaction's connection give a lock up after a second, which is the least that there is.
func impatient(t testing.TB, tx *database.Tx) error {
	_, err := tx.Exec(t.Context(), "SET SESSION innodb_lock_wait_timeout = 1, lock_wait_timeout = 1")
	return err
}

func TestARowThatStaysLockedIsLeftOutTheSecondTime(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		store(t, db, "hat", "shoe")
		hold(t, db, "shoe")
		var afterLockWait []bool
		var free []string
		transact(t, db, func(tx *database.Tx) error {
			if err := impatient(t, tx); err != nil {
				return err
			}
			afterLockWait = append(afterLockWait, tx.AfterLockWait())
			clause := tx.ForUpdate()
			if tx.AfterLockWait() {
				clause = tx.ForUpdateSkipLocked()
			}
			free = nil
			return tx.Select(t.Context(), &free, "SELECT product_id FROM product_details ORDER BY product_id"+clause)
		})
		if diff := cmp.Diff([]bool{false, true}, afterLockWait); diff != "" {
			t.Errorf("AfterLockWait, attempt by attempt (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"hat"}, free); diff != "" {
			t.Errorf("the rows that were free (-want +got):\n%s", diff)
		}
	})
}

func TestARowThatStaysLockedTwiceIsTaken(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		store(t, db, "shoe")
		release := hold(t, db, "shoe")
		var afterLockWait []bool
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			afterLockWait = append(afterLockWait, tx.AfterLockWait())
			if err := impatient(t, tx); err != nil {
				return err
			}
			if err := insert(t, tx, "hat", 1); err != nil {
				return err
			}
			return lock(t, tx, "shoe")
		}, nil)
		is(t, err, database.ErrRowLocked)
		isNot(t, err, database.ErrUnavailable)
		if diff := cmp.Diff([]bool{false, true}, afterLockWait); diff != "" {
			t.Errorf("AfterLockWait, attempt by attempt (-want +got):\n%s", diff)
		}
		isStored(t, db, "hat", false) // 1205 rolls back its statement alone: the rest is for us to roll back
		release()
		isClean(t, db)
	})
}

func TestATakenRowCanBeAskedForAtOnceAndTheTransactionGoesOn(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		store(t, db, "shoe")
		hold(t, db, "shoe")
		began, attempts := time.Now(), 0
		transact(t, db, func(tx *database.Tx) error {
			attempts++
			if err := insert(t, tx, "hat", 1); err != nil {
				return err
			}
			var found []string
			err := tx.Select(t.Context(), &found, "SELECT product_id FROM product_details WHERE product_id = 'shoe'"+tx.ForUpdateNoWait())
			if !database.IsRowLocked(err) {
				t.Errorf("got error %v, want one that says that the row is taken", err)
			}
			return nil
		})
		if took := time.Since(began); attempts != 1 || took > time.Second {
			t.Errorf("%d attempts took %v, want one that waits for nothing", attempts, took)
		}
		isStored(t, db, "hat", true) // what came before was not rolled back with the statement
	})
}

func TestATableThatStaysLockedIsTaken(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		conn, err := db.Setup().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		closed(t, conn)
		execute(t, conn, "LOCK TABLES product_details WRITE")
		err = db.Transact(t.Context(), func(tx *database.Tx) error {
			if err := impatient(t, tx); err != nil {
				return err
			}
			return insert(t, tx, "shoe", 1)
		}, nil)
		is(t, err, database.ErrRowLocked)
		execute(t, conn, "UNLOCK TABLES")
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

func TestWorkThatAsksForItRunsAgainUntilItIsGivenUp(t *testing.T) {
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

func TestNoAttemptStartsWhenTransactHasTakenLong(t *testing.T) {
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

func TestAnAttemptThatTakesLongIsRolledBack(t *testing.T) {
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

func TestADatabaseThatIsSilentForMostOfAnAttemptIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		const limit = 500 * time.Millisecond
		for name, silence := range map[string]func(t *testing.T) *database.DB{
			"embedded, somebody keeps the file locked": func(t *testing.T) *database.DB {
				dir := t.TempDir()
				db := databasetest.Open(t, database.Config{DataDir: dir, Serve: true})
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

func TestAConnectionThatBreaksBeforeTheCommitCostsAnAttempt(t *testing.T) {
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

func TestConnectionsThatKeepBreakingAreAnOutage(t *testing.T) {
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

func TestAContextThatEndsStopsTransactBetweenAttempts(t *testing.T) {
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

func TestAContextThatEndsDoesNotStopACommit(t *testing.T) {
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

func TestAThousandFailuresLeakNothing(t *testing.T) {
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

func TestReadersCannotWrite(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store(t, db, "shoe")
		for name, read := range map[string]func(context.Context, func(*database.Tx) error) error{"Read": db.Read, "Snapshot": db.Snapshot} {
			err := read(t.Context(), func(tx *database.Tx) error { return insert(t, tx, "hat", 1) })
			if is(t, err, database.ErrUnavailable); err == nil {
				t.Errorf("%s wrote", name)
			}
			is(t, read(t.Context(), func(*database.Tx) error { return errWork }), errWork)
		}
		isStored(t, db, "hat", false)
	})
}

func TestASnapshotSeesOneMoment(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store(t, db, "shoe")
		count := func(tx *database.Tx) (n []int) {
			if err := tx.Select(t.Context(), &n, "SELECT count(*) FROM product_details"); err != nil {
				t.Error(err)
			}
			return n
		}
		look := func(tx *database.Tx) (before, after []int) {
			before = count(tx)
			store(t, db, "n"+time.Now().Format(time.RFC3339Nano))
			return before, count(tx)
		}
		_ = db.Snapshot(t.Context(), func(tx *database.Tx) error {
			if before, after := look(tx); !cmp.Equal(before, after) {
				t.Errorf("a snapshot counted %d products, then %d", before, after)
			}
			return nil
		})
		_ = db.Read(t.Context(), func(tx *database.Tx) error {
			if before, after := look(tx); cmp.Equal(before, after) {
				t.Errorf("a read counted %d products, and %d after another one was stored", before, after)
			}
			return nil
		})
	})
}

package database_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/database/databasetest/proxy"

	"github.com/go-sql-driver/mysql"
)

// proxied returns a database that is reached through a proxy, and a direct way to the same one.
func proxied(t *testing.T, flavour dbserver.Flavour) (db, direct *database.DB, between *proxy.Proxy) {
	t.Helper()
	dsn := databasetest.ServerDSN(t, flavour)
	direct = databasetest.Open(t, database.Config{MySQLDSN: dsn})
	settings, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	between, err = proxy.Listen(settings.Addr)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, between)
	settings.Net, settings.Addr = "tcp", between.Address()
	db, err = database.Open(t.Context(), database.Config{MySQLDSN: settings.FormatDSN(), Log: databasetest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // its connections may be cut
	return db, direct, between
}

// counted returns work that stores a row and counts its runs and those of its look-up.
func counted(t *testing.T, id string) (work func(*database.Tx) error, look func(*database.Tx) (bool, error), ran, looked *atomic.Int32) {
	ran, looked = new(atomic.Int32), new(atomic.Int32)
	work = func(tx *database.Tx) error {
		ran.Add(1)
		return insert(t, tx, id, 1)
	}
	look = func(tx *database.Tx) (bool, error) {
		looked.Add(1)
		return lookFor(t, id)(tx)
	}
	return work, look, ran, looked
}

func wantCounts(t *testing.T, ran, looked *atomic.Int32, wantRan, wantLooked int32) {
	t.Helper()
	if ran.Load() != wantRan || looked.Load() != wantLooked {
		t.Errorf("the work ran %d times and was looked for %d times, want %d and %d", ran.Load(), looked.Load(), wantRan, wantLooked)
	}
}

func TestLostCommit_foundIsSuccess(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		work, look, ran, looked := counted(t, "shoe")
		between.Next(proxy.CutAfter())
		if err := db.Transact(t.Context(), work, look); err != nil {
			t.Error(err)
		}
		wantCounts(t, ran, looked, 1, 1)
		isStored(t, direct, "shoe", true)
		if counts := between.Counts(); counts.CutAfter != 1 {
			t.Errorf("the proxy counted %+v, want one commit cut after it", counts)
		}
		isClean(t, db)
	})
}

func TestLostCommit_notFoundIsRetried(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		work, look, ran, looked := counted(t, "shoe")
		between.Next(proxy.CutBefore())
		if err := db.Transact(t.Context(), work, look); err != nil {
			t.Error(err)
		}
		wantCounts(t, ran, looked, 2, 2)
		isStored(t, direct, "shoe", true)
		isClean(t, db)
	})
}

// A replica that took over may apply the COMMIT after the look-up.
func TestLostCommit_foundByTheRetryIsSuccess(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		work, look, ran, looked := counted(t, "shoe")
		between.Next(proxy.CutBefore())
		if err := db.Transact(t.Context(), work, func(tx *database.Tx) (bool, error) {
			if looked.Load() == 1 {
				store(t, direct, "shoe")
			}
			return look(tx)
		}); err != nil {
			t.Error(err)
		}
		wantCounts(t, ran, looked, 1, 2)
		isStored(t, direct, "shoe", true)
		isClean(t, db)
	})
}

// The locking read of the second look may meet the thread that applies the COMMIT.
func TestLostCommit_disturbedLookOfTheRetryIsRepeated(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		work, look, ran, looked := counted(t, "shoe")
		between.Next(proxy.CutBefore())
		if err := db.Transact(t.Context(), work, func(tx *database.Tx) (bool, error) {
			if looked.Load() == 1 {
				store(t, direct, "shoe")
				looked.Add(1)
				return false, &mysql.MySQLError{Number: 1213, Message: "deadlock"}
			}
			return look(tx)
		}); err != nil {
			t.Error(err)
		}
		wantCounts(t, ran, looked, 1, 3)
		isStored(t, direct, "shoe", true)
		isClean(t, db)
	})
}

func TestLostCommit_repeatedLossIsAnOutage(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		work, look, ran, looked := counted(t, "shoe")
		between.Decide(func(int) proxy.Fate { return proxy.CutBefore() })
		err := db.Transact(t.Context(), work, look)
		is(t, err, database.ErrUnavailable)
		isNot(t, err, database.ErrOutcomeUnknown)
		wantCounts(t, ran, looked, 1+database.MaxReconnects, 1+2*database.MaxReconnects)
		isStored(t, direct, "shoe", false)
		between.Decide(nil)
		isClean(t, db)
	})
}

func TestLostCommit_nothingToLookForIsUnknown(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for name, test := range map[string]struct {
			fate   proxy.Fate
			stored bool
		}{
			"lost on the way there": {proxy.CutBefore(), false},
			"lost on the way back":  {proxy.CutAfter(), true},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				db, direct, between := proxied(t, flavour)
				work, _, ran, looked := counted(t, "shoe")
				between.Next(test.fate)
				err := db.Transact(t.Context(), work, nil)
				is(t, err, database.ErrOutcomeUnknown)
				isNot(t, err, database.ErrUnavailable)
				wantCounts(t, ran, looked, 1, 0)
				isStored(t, direct, "shoe", test.stored)
				isClean(t, db)
			})
		}
	})
}

func TestLostCommit_lookupErrorIsNotRetried(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, _, between := proxied(t, flavour)
		work, _, ran, looked := counted(t, "shoe")
		between.Next(proxy.CutAfter())
		err := db.Transact(t.Context(), work, func(*database.Tx) (bool, error) {
			looked.Add(1)
			return false, errWork
		})
		is(t, err, database.ErrOutcomeUnknown, errWork)
		wantCounts(t, ran, looked, 1, 1)
	})
}

func TestLostCommit_waitsForARunningCommit(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		work, look, ran, looked := counted(t, "shoe")
		release, result := make(chan struct{}), make(chan error, 1)
		between.Next(proxy.Hold(release))
		go func() { result <- db.Transact(t.Context(), work, look) }()
		someoneWaits(t, direct)
		isStored(t, direct, "shoe", false)
		close(release)
		if err := <-result; err != nil {
			t.Error(err)
		}
		wantCounts(t, ran, looked, 1, 1)
		isStored(t, direct, "shoe", true)
		// The locks are free a moment before the answer comes.
		eventually(t, "the answer to the commit that was held", func() bool { return between.Counts().HeldAnswered == 1 })
		isClean(t, db)
	})
}

func TestLostCommit_lookupIsRetriedAfterALockWait(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		work, look, ran, looked := counted(t, "shoe")
		release, result := make(chan struct{}), make(chan error, 1)
		between.Next(proxy.Hold(release))
		go func() {
			result <- db.Transact(t.Context(), work, func(tx *database.Tx) (bool, error) {
				if err := impatient(t, tx); err != nil {
					return false, err
				}
				return look(tx)
			})
		}()
		eventually(t, "a second look", func() bool { return looked.Load() >= 2 })
		close(release)
		if err := <-result; err != nil {
			t.Error(err)
		}
		if ran.Load() != 1 {
			t.Errorf("the work ran %d times, want once", ran.Load())
		}
		isStored(t, direct, "shoe", true)
	})
}

func TestLostCommit_thatNeverArrivesIsRetried(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		look := lookFor(t, "shoe")
		result := make(chan error, 1)
		between.Next(proxy.Hold(make(chan struct{}))) // never
		var ran atomic.Int32
		var first atomic.Int64
		go func() {
			result <- db.Transact(t.Context(), func(tx *database.Tx) error {
				if ran.Add(1) == 1 {
					var ids []int64
					if err := tx.Select(t.Context(), &ids, "SELECT connection_id()"); err != nil {
						return err
					}
					first.Store(ids[0])
				}
				return insert(t, tx, "shoe", 1)
			}, look)
		}()
		someoneWaits(t, direct)
		if _, err := direct.Setup().ExecContext(t.Context(), "KILL CONNECTION ?", first.Load()); err != nil {
			t.Error(err)
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
		if ran.Load() != 2 {
			t.Errorf("the work ran %d times, want twice", ran.Load())
		}
		isStored(t, direct, "shoe", true)
		isClean(t, db)
	})
}

func TestLostCommit_serverThatStaysAwayIsUnknown(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		const bound = 400 * time.Millisecond
		db.SetLimits(0, 0, bound)
		work, look, ran, looked := counted(t, "shoe")
		began := time.Now()
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			defer between.Away(true)
			return work(tx)
		}, look)
		is(t, err, database.ErrOutcomeUnknown)
		if took := time.Since(began); took < bound {
			t.Errorf("it was given up after %v, want %v", took, bound)
		}
		wantCounts(t, ran, looked, 1, 0)
		if !strings.Contains(err.Error(), "look for the commit") {
			t.Errorf("the error does not say what could not be done: %v", err)
		}
		between.Away(false)
		isStored(t, direct, "shoe", false)
		isClean(t, db)
	})
}

func TestLostCommit_serverThatReturnsIsAsked(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		work, look, ran, looked := counted(t, "shoe")
		result := make(chan error, 1)
		go func() {
			result <- db.Transact(t.Context(), func(tx *database.Tx) error {
				if ran.Load() == 0 {
					defer between.Away(true)
				}
				return work(tx)
			}, look)
		}()
		eventually(t, "connections turned away", func() bool { return between.Counts().Refused > 3 })
		between.Away(false)
		if err := <-result; err != nil {
			t.Error(err)
		}
		wantCounts(t, ran, looked, 2, 2)
		isStored(t, direct, "shoe", true)
		isClean(t, db)
	})
}

func TestLostCommit_isLookedUpAfterTheCallerLeft(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		ctx, cancel := context.WithCancel(t.Context())
		between.Next(proxy.CutAfter())
		err := db.Transact(ctx,
			func(tx *database.Tx) error {
				defer cancel()
				return insert(t, tx, "shoe", 1)
			},
			func(tx *database.Tx) (bool, error) {
				var found []string
				err := tx.Select(ctx, &found, "SELECT product_id FROM product_details WHERE product_id = 'shoe'"+tx.ForUpdate())
				return len(found) > 0, err
			})
		if err != nil {
			t.Error(err)
		}
		isStored(t, direct, "shoe", true)
		isClean(t, db)
	})
}

func TestLostCommit_lookupWritesNothing(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, direct, between := proxied(t, flavour)
		work, look, _, _ := counted(t, "shoe")
		between.Next(proxy.CutAfter())
		err := db.Transact(t.Context(), work, func(tx *database.Tx) (bool, error) {
			if err := insert(t, tx, "hat", 1); err != nil {
				return false, err
			}
			return look(tx)
		})
		if err != nil {
			t.Error(err)
		}
		isStored(t, direct, "hat", false)
		isStored(t, direct, "shoe", true)
	})
}

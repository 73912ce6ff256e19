package inventory_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"

	"github.com/google/go-cmp/cmp"
)

func TestGuard_lockingAndImportingIncrementItInAClusterOnly(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for _, m := range managers(db) {
			for _, file := range []string{"mug,,5\ntea,,5\n", "mug,,6\n"} {
				if _, err := m.Import(t.Context(), strings.NewReader(header+file), inventory.Import{}); err != nil {
					t.Fatal(err)
				}
			}
			transact(t, db, func(tx *database.Tx) error {
				_, err := m.Lock(t.Context(), tx, []string{"mug"})
				return err
			})
		}
		var guards []string
		err := db.Read(t.Context(), func(tx *database.Tx) error {
			return tx.Select(t.Context(), &guards, "SELECT CONCAT(product_id, version) FROM product_guard ORDER BY product_id")
		})
		if diff := cmp.Diff([]string{"mug3", "tea1"}, guards); err != nil || diff != "" {
			t.Errorf("error %v, guards (-want +got):\n%s", err, diff)
		}
	})
}

// Another node's reservation is applied without a lock on the product. It must not slip in between
// the sum of what is reserved and the guard.
func TestGuard_isWrittenBeforeWhatIsReservedIsRead(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db, other := twoInstances(t, flavour)
		put(t, db, "mug", 5)
		release := applyReservation(t, other)
		locked := make(chan int64, 1)
		lock := func(tx *database.Tx) error {
			stock, err := inventory.NewClustered(db).Lock(t.Context(), tx, []string{"mug"})
			if err != nil {
				return err
			}
			level, _ := stock.Level("mug")
			locked <- level.Reserved
			return database.ErrNothingToWrite
		}
		go func() {
			err := database.ErrRowLocked
			for errors.Is(err, database.ErrRowLocked) { // a busy machine may release the guard late
				err = db.Transact(t.Context(), lock, nil)
			}
			if err != nil {
				t.Error(err)
			}
		}()
		eventually(t, "the transaction waits for the guard, or has not waited", func() bool {
			return len(locked) > 0 || anyWaitsForALock(t, other)
		})
		release()
		if reserved := <-locked; reserved != 4 {
			t.Errorf("%d are reserved, want 4", reserved)
		}
	})
}

// applyReservation writes a reservation of 4 mugs as a node applies that of another one, and
// commits it when release is called.
func applyReservation(t *testing.T, db *database.DB) (release func()) {
	t.Helper()
	written, opened, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- db.Transact(context.Background(), func(tx *database.Tx) error {
			for _, statement := range []string{
				"INSERT INTO product_guard (product_id, version) VALUES ('mug', 1)",
				"INSERT INTO reserve_purchase (reserve_id, product_id, quantity) VALUES ('c:1', 'mug', 4)",
			} {
				if _, err := tx.Exec(context.Background(), statement); err != nil {
					return err
				}
			}
			close(written)
			<-opened
			return nil
		}, nil)
	}()
	<-written
	return func() {
		close(opened)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// anyWaitsForALock reports whether a transaction on the test's database waits for a row. InnoDB
// renews innodb_trx only when nobody has read it for 100 ms.
func anyWaitsForALock(t *testing.T, db *database.DB) bool {
	t.Helper()
	waiting, err := database.Query(t.Context(), db.Read, func(tx *database.Tx) (ids []int64, err error) {
		var slept []int64
		if err := tx.Select(t.Context(), &slept, "SELECT SLEEP(0.15)"); err != nil {
			return nil, err
		}
		err = tx.Select(t.Context(), &ids, `SELECT t.trx_mysql_thread_id FROM information_schema.innodb_trx t
			JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE() AND t.trx_state = 'LOCK WAIT'`)
		return ids, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(waiting) > 0
}

package database_test

import (
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"

	"github.com/google/go-cmp/cmp"
)

// impatient makes the transaction's connection give a lock up after a second, which is the least
// that there is.
func impatient(t testing.TB, tx *database.Tx) error {
	_, err := tx.Exec(t.Context(), "SET SESSION innodb_lock_wait_timeout = 1, lock_wait_timeout = 1")
	return err
}

func TestTransact_leavesLockedRowsOutAfterALockWait(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		store(t, db, "hat", "shoe")
		hold(t, db, "shoe")
		var afterLockTimeout []bool
		var free []string
		transact(t, db, func(tx *database.Tx) error {
			if err := impatient(t, tx); err != nil {
				return err
			}
			afterLockTimeout = append(afterLockTimeout, tx.AfterLockTimeout())
			clause := tx.ForUpdate()
			if tx.AfterLockTimeout() {
				clause = tx.ForUpdateSkipLocked()
			}
			free = nil
			return tx.Select(t.Context(), &free, "SELECT product_id FROM product_details ORDER BY product_id"+clause)
		})
		if diff := cmp.Diff([]bool{false, true}, afterLockTimeout); diff != "" {
			t.Errorf("AfterLockTimeout, attempt by attempt (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"hat"}, free); diff != "" {
			t.Errorf("the rows that were free (-want +got):\n%s", diff)
		}
	})
}

func TestTransact_rowThatStaysLockedIsAnError(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		store(t, db, "shoe")
		release := hold(t, db, "shoe")
		var afterLockTimeout []bool
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			afterLockTimeout = append(afterLockTimeout, tx.AfterLockTimeout())
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
		if diff := cmp.Diff([]bool{false, true}, afterLockTimeout); diff != "" {
			t.Errorf("AfterLockTimeout, attempt by attempt (-want +got):\n%s", diff)
		}
		isStored(t, db, "hat", false) // 1205 rolls back its statement alone: the rest is for us to roll back
		release()
		isClean(t, db)
	})
}

func TestTransact_noWaitFailsOnlyItsStatement(t *testing.T) {
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
			if !database.IsLockNotAvailable(err) {
				t.Errorf("got error %v, want one that says that the row is locked", err)
			}
			return nil
		})
		if took := time.Since(began); attempts != 1 || took > time.Second {
			t.Errorf("%d attempts took %v, want one that waits for nothing", attempts, took)
		}
		isStored(t, db, "hat", true) // what came before was not rolled back with the statement
	})
}

func TestTransact_tableThatStaysLockedIsAnError(t *testing.T) {
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

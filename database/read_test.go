package database_test

import (
	"context"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"

	"github.com/google/go-cmp/cmp"
)

func TestRead_cannotWrite(t *testing.T) {
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

func TestSnapshot_seesOneMoment(t *testing.T) {
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

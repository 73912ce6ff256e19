package database_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// more adds to a product's stock later, and notes how many rows that found.
func more(ctx context.Context, tx *database.Tx, id string, n int, found *[]int64) error {
	return tx.Later(ctx, func(rows int64) error {
		*found = append(*found, rows)
		return nil
	}, "UPDATE product_details SET quantity = quantity + ? WHERE product_id = ?", n, id)
}

// quantityOf reads a product's stock later.
func quantityOf(ctx context.Context, tx *database.Tx, id string, read map[string]int) error {
	return tx.LaterEach(ctx, func(rows *sql.Rows) error {
		var n int
		err := rows.Scan(&n)
		read[id] = n
		return err
	}, "SELECT quantity FROM product_details WHERE product_id = ?", id)
}

func TestStatementsForLaterAreDoneInTheirOrderByTheNextOne(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store(t, db, "hat", "shoe")
		ctx := t.Context()
		var found []int64
		read := map[string]int{}
		transact(t, db, func(tx *database.Tx) error {
			err := errors.Join(more(ctx, tx, "hat", 1, &found), more(ctx, tx, "missing", 1, &found), more(ctx, tx, "shoe", 2, &found))
			if err != nil {
				return err
			}
			// Of another kind: what came before it is done, and seen.
			if err := errors.Join(quantityOf(ctx, tx, "hat", read), quantityOf(ctx, tx, "shoe", read), quantityOf(ctx, tx, "missing", read)); err != nil {
				return err
			}
			var now []int
			if err := tx.Select(ctx, &now, "SELECT quantity FROM product_details ORDER BY product_id"); err != nil {
				return err
			}
			if diff := cmp.Diff([]int64{1, 0, 1}, found); diff != "" {
				t.Errorf("rows found (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]int{"hat": 11, "shoe": 12}, read); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
			// A statement with a result of its own goes with those that wait.
			if err := more(ctx, tx, "hat", 5, &found); err != nil {
				return err
			}
			rows, err := tx.Exec(ctx, "UPDATE product_details SET quantity = 2 * quantity")
			if rows != 2 {
				t.Errorf("the last of several found %d rows, want 2", rows)
			}
			// And the end of the work sends what is left.
			return errors.Join(err, more(ctx, tx, "shoe", 100, &found))
		})
		if _, quantities := stored(t, db); !cmp.Equal(quantities, []int{32, 124}) {
			t.Errorf("stored %v, want 32 hats and 124 shoes", quantities)
		}
	})
}

func TestAnErrorAmongStatementsForLaterUndoesTheTransaction(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		tooFew := errors.New("too few rows")
		for name, failing := range map[string]func(tx *database.Tx) error{
			"a statement that fails": func(tx *database.Tx) error { return tx.Later(ctx, nil, "UPDATE nowhere SET quantity = 1") },
			"a count that is wrong": func(tx *database.Tx) error {
				return tx.Later(ctx, func(int64) error { return tooFew }, "UPDATE product_details SET quantity = 1")
			},
			"a read that fails": func(tx *database.Tx) error {
				return tx.LaterEach(ctx, func(*sql.Rows) error { return tooFew }, "SELECT quantity FROM product_details")
			},
			"a read of nothing that is there": func(tx *database.Tx) error {
				return errors.Join(quantityOf(ctx, tx, "hat", map[string]int{}),
					tx.LaterEach(ctx, func(*sql.Rows) error { return nil }, "SELECT quantity FROM nowhere"))
			},
		} {
			id := fmt.Sprint("a product of ", name)
			store(t, db, id)
			var found []int64
			err := db.Transact(ctx, func(tx *database.Tx) error {
				return errors.Join(more(ctx, tx, id, 1, &found), failing(tx), more(ctx, tx, id, 1, &found))
			}, nil)
			if err == nil {
				t.Errorf("%s: the transaction succeeded", name)
			}
		}
		_, quantities := stored(t, db)
		for _, n := range quantities {
			if n != 10 {
				t.Errorf("stored %v, want what was there before", quantities)
				break
			}
		}
		isClean(t, db)
	})
}

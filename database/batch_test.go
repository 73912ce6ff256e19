package database_test

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// addStock adds to a product's stock, and appends the number of rows that it found.
func addStock(b *database.Batch, id string, n int, found *[]int64) {
	b.Exec(func(rows int64) error {
		*found = append(*found, rows)
		return nil
	}, "UPDATE product_details SET quantity = quantity + ? WHERE product_id = ?", n, id)
}

// readStock reads a product's stock.
func readStock(b *database.Batch, id string, read map[string]int) {
	b.Query(func(rows *sql.Rows) error {
		var n int
		err := rows.Scan(&n)
		read[id] = n
		return err
	}, "SELECT quantity FROM product_details WHERE product_id = ?", id)
}

func TestBatch_runsItsStatementsInOrder(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store(t, db, "hat", "shoe")
		var found []int64
		read := map[string]int{}
		transact(t, db, func(tx *database.Tx) error {
			b := tx.Batch()
			addStock(b, "hat", 1, &found)
			addStock(b, "missing", 1, &found)
			addStock(b, "shoe", 2, &found)
			for _, id := range []string{"hat", "shoe", "missing"} {
				readStock(b, id, read)
			}
			addStock(b, "hat", 5, &found)
			if len(found) != 0 || len(read) != 0 {
				t.Error("statements ran before the batch was sent")
			}
			if err := b.Send(t.Context()); err != nil {
				return err
			}
			addStock(b, "shoe", 100, &found)
			return errors.Join(b.Send(t.Context()), b.Send(t.Context()))
		})
		if diff := cmp.Diff([]int64{1, 0, 1, 1, 1}, found); diff != "" {
			t.Errorf("rows found (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]int{"hat": 11, "shoe": 12}, read); diff != "" {
			t.Errorf("read (-want +got):\n%s", diff)
		}
		if _, quantities := stored(t, db); !cmp.Equal(quantities, []int{16, 112}) {
			t.Errorf("stored %v, want 16 hats and 112 shoes", quantities)
		}
	})
}

func TestBatch_errorUndoesTheTransaction(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		tooFew := errors.New("too few rows")
		for name, failing := range map[string]func(b *database.Batch){
			"a statement that fails": func(b *database.Batch) { b.Exec(nil, "UPDATE nowhere SET quantity = 1") },
			"a check that fails": func(b *database.Batch) {
				b.Exec(func(int64) error { return tooFew }, "UPDATE product_details SET quantity = 1")
			},
			"a scan that fails": func(b *database.Batch) {
				b.Query(func(*sql.Rows) error { return tooFew }, "SELECT quantity FROM product_details")
			},
			"a query of no table": func(b *database.Batch) {
				readStock(b, "hat", map[string]int{})
				b.Query(func(*sql.Rows) error { return nil }, "SELECT quantity FROM nowhere")
			},
		} {
			id := fmt.Sprint("a product of ", name)
			store(t, db, id)
			var found []int64
			err := db.Transact(t.Context(), func(tx *database.Tx) error {
				b := tx.Batch()
				addStock(b, id, 1, &found)
				failing(b)
				addStock(b, id, 1, &found)
				return b.Send(t.Context())
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

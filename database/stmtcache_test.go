package database_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func prepared(t *testing.T, db *database.DB) int {
	t.Helper()
	n, err := db.Prepared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStatementCache_isBounded(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		transact(t, db, func(tx *database.Tx) error {
			for i := range 600 { // more than either engine's maximum
				for range 2 {
					var got []int
					if err := tx.Select(t.Context(), &got, fmt.Sprint("SELECT ? + ", i), 1); err != nil || !cmp.Equal(got, []int{i + 1}) {
						return fmt.Errorf("1 + %d is %v: %w", i, got, err)
					}
				}
			}
			return nil
		})
		want := 256
		if db.Embedded() {
			want = 512
		}
		if got := prepared(t, db); got != want {
			t.Errorf("%d statements are prepared, want %d", got, want)
		}
		isClean(t, db)
	})
}

func TestStatementCache_preparesWhatRunsTwice(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		var before int
		for run := range 4 {
			transact(t, db, func(tx *database.Tx) error {
				var got []int
				return tx.Select(t.Context(), &got, "SELECT 1 + ? + ?", 1, 2)
			})
			switch after := prepared(t, db); {
			case run == 0:
				before = after
			case after <= before:
				t.Errorf("%d statements are prepared after run %d, %d were before", after, run, before)
			}
		}
	})
}

func TestStatementCache_ignoresWhatCannotBePrepared(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for range 3 {
			err := db.Transact(t.Context(), func(tx *database.Tx) error {
				_, err := tx.Exec(t.Context(), "SELECT nonsense + ?", 1)
				return err
			}, nil)
			isNot(t, err, database.ErrUnavailable)
			if err == nil {
				t.Error("nonsense was done")
			}
		}
		isClean(t, db)
	})
}

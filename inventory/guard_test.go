package inventory_test

import (
	"strings"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

func TestGuard_importsAndReservationsIncrementItInAClusterOnly(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for _, m := range []*inventory.Manager{inventory.New(db), inventory.NewClustered(db)} {
			for _, file := range []string{"mug,,5\ntea,,5\n", "mug,,6\ntea,,5\n"} {
				if _, err := m.Import(t.Context(), strings.NewReader(header+file), inventory.Import{}); err != nil {
					t.Fatal(err)
				}
			}
			transact(t, db, func(tx *database.Tx) error {
				return databasetest.Send(t.Context(), tx, func(b *database.Batch) {
					r := []inventory.Reservation{reservation("c", "mug", 1)}
					m.Reserve(b, r)
					m.Release(b, r)
				})
			})
		}
		var versions []int
		err := db.Read(t.Context(), func(tx *database.Tx) error {
			return tx.Select(t.Context(), &versions, "SELECT version FROM product_guard ORDER BY product_id")
		})
		// mug: set to 5, to 6, and reserved; tea is unchanged.
		if err != nil || len(versions) != 1 || versions[0] != 3 {
			t.Errorf("got %v, error %v, want 3 of the mug", versions, err)
		}
	})
}

package cart_test

import (
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestAddBatch_addAndKeyAreStoredTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 5)
		m := newManager(t, db)
		begin, end := "ALTER TABLE idempotency_key ADD CONSTRAINT no_answers CHECK (http_status IS NULL)", "ALTER TABLE idempotency_key DROP CONSTRAINT no_answers"
		if db.Embedded() {
			begin, end = "CREATE TRIGGER no_answers BEFORE INSERT ON idempotency_key BEGIN SELECT RAISE(ABORT, 'no answers'); END", "DROP TRIGGER no_answers"
		}
		exec := func(statement string) {
			if _, err := db.Setup().ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		exec(begin)
		if err := m.AddToCart(t.Context(), addition("ann", "mug", 2, "key")); err == nil {
			t.Error("the add was answered Success, and its key is not stored")
		}
		wantCart(t, db, "ann", map[string]int64{})
		exec(end)
		if err := m.AddToCart(t.Context(), addition("ann", "mug", 2, "key")); err != nil {
			t.Error(err)
		}
		wantCart(t, db, "ann", map[string]int64{"mug": 2})
	})
}

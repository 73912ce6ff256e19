package cart_test

import (
	"testing"
	"time"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// lockWait is the time for which a transaction waits for a locked row: a batch that takes less did
// not wait.
const lockWait = 2 * time.Second

func TestAddBatch_lockedLineDelaysItsOwnClientOnly(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 100)
		putProduct(t, db, "tea", 100)
		putLine(t, db, "ann", "mug", 1)
		putLine(t, db, "bob", "mug", 1)
		m := newManager(t, db)
		release := lockLine(t, db, "ann", "mug")
		for range 2 { // the second time without waiting
			wantBatch(t, m, []cart.LineChange{
				addition("ann", "mug", 1), addition("bob", "mug", 1), addition("cid", "mug", 1), addition("ann", "tea", 1, "key"),
				addition("ann", "tea", 1, "key"),
			}, database.ErrRowLocked, nil, nil, database.ErrRowLocked, database.ErrRowLocked)
		}
		wantCart(t, db, "bob", map[string]int64{"mug": 3})
		wantCart(t, db, "cid", map[string]int64{"mug": 2})
		release()
		wantCart(t, db, "ann", map[string]int64{"mug": 1})
		// Nothing was stored with the key: nothing was done.
		wantBatch(t, m, []cart.LineChange{addition("ann", "mug", 1), addition("ann", "tea", 1, "key")}, nil, nil)
		wantCart(t, db, "ann", map[string]int64{"mug": 2, "tea": 1})
	})
}

func TestAddBatch_rowBeingInsertedDelaysItsOwnClientOnly(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		insert string // which its transaction does not commit
		key    string // of ann's add
	}{
		"a line": {"INSERT INTO client_cart (client_id, product_id, quantity) VALUES ('ann', 'mug', 1)", ""},
		"a key": {"INSERT INTO idempotency_key (client_id, endpoint, idempotency_key, request_hash, created_at)" +
			" VALUES ('ann', 'addToCart', 'key', REPEAT('x', 32), UTC_TIMESTAMP(6))", "key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
				putProduct(t, db, "mug", 100)
				m := newManager(t, db)
				transact(t, db, func(tx *database.Tx) error {
					if _, err := tx.Exec(t.Context(), test.insert); err != nil {
						return err
					}
					for round := range 3 {
						began := time.Now()
						wantBatch(t, m, []cart.LineChange{addition("ann", "mug", 1, test.key), addition("bob", "mug", 1)}, database.ErrRowLocked, nil)
						if took := time.Since(began); round > 0 && took >= lockWait {
							t.Errorf("bob waited %v for ann's row, though it was known to be taken", took)
						}
					}
					return nil
				})
				wantCart(t, db, "bob", map[string]int64{"mug": 3})
			})
		})
	}
}

func TestAddBatch_lockedLineOfALongCartDelaysItsOwnClientOnly(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		putProducts(t, db, 400, 100)
		putLines(t, db, "ann", 300)
		m := newManager(t, db)
		lockLine(t, db, "ann", product(7))
		for round := range 3 {
			began := time.Now()
			wantBatch(t, m, []cart.LineChange{addition("ann", product(350), 1), addition("bob", product(1), 1)}, database.ErrRowLocked, nil)
			if took := time.Since(began); round > 0 && took >= lockWait {
				t.Errorf("bob waited %v for ann's cart, though it was known to be taken", took)
			}
		}
	})
}

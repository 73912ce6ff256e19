package cart_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

var errMismatch = idempotency.ErrMismatch

func TestKeys_repeatGetsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 10)
		m, other := newManager(t, db), newManager(t, db)
		for _, test := range []struct {
			name string
			add  cart.LineChange
			want error
		}{
			{"success", addition("ann", "mug", 4, "K1"), nil},
			{"shortage", addition("ann", "mug", 7, "K2"), short("mug", 11, 10)},
			{"no product", addition("ann", "soon", 1, "K3"), gone("soon")},
		} {
			if err := m.AddToCart(t.Context(), test.add); !sameError(err, test.want) {
				t.Errorf("%s: got %v, want %v", test.name, err, test.want)
			}
			// What would be answered now does not count any more.
			execute(t, db, "UPDATE product_details SET quantity = 100 WHERE product_id = 'mug'")
			if test.add.ProductID == "soon" {
				putProduct(t, db, "soon", 5)
			}
			for _, m := range []*cart.Manager{m, other} {
				if err := m.AddToCart(t.Context(), test.add); !sameError(err, replayOf(test.want)) {
					t.Errorf("%s again: got %v, want %v", test.name, err, replayOf(test.want))
				}
			}
			execute(t, db, "UPDATE product_details SET quantity = 10 WHERE product_id = 'mug'")
		}
		wantCart(t, db, "ann", map[string]int64{"mug": 4})
	})
}

func TestKeys_lineLimitIsStoredWithItsKey(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProducts(t, db, 501, 1)
		putLines(t, db, "ann", 500)
		m := newManager(t, db)
		add := addition("ann", product(500), 1, "key")
		wantBatch(t, m, []cart.LineChange{add}, cart.ErrTooManyLines)
		execute(t, db, "DELETE FROM client_cart")
		wantBatch(t, m, []cart.LineChange{add}, replayOf(cart.ErrTooManyLines))
	})
}

func TestKeys_isItsClientsAndForOneRequest(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 10)
		putProduct(t, db, "tea", 10)
		m := newManager(t, db)
		wantBatch(t, m, []cart.LineChange{addition("ann", "mug", 1, "key")}, nil)
		wantBatch(t, m, []cart.LineChange{
			addition("ann", "mug", 2, "key"), addition("ann", "tea", 1, "key"), addition("ann", "mug", 1, "KEY"),
			addition("Ann", "mug", 3, "key"), addition("ann", "mug", 1),
		}, errMismatch, errMismatch, nil, nil, nil)
		wantCart(t, db, "ann", map[string]int64{"mug": 3})
		wantCart(t, db, "Ann", map[string]int64{"mug": 3})
	})
}

func TestKeys_repeatsInOneBatchAreDoneOnce(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 10)
		m := newManager(t, db)
		wantBatch(t, m, []cart.LineChange{
			addition("ann", "mug", 2, "a"),
			addition("ann", "mug", 2, "a"),
			addition("ann", "mug", 3, "a"),
			addition("ann", "mug", 9, "b"),
			addition("ann", "mug", 9, "b"),
			addition("ann", "mug", 9, "b"),
			addition("bob", "mug", 2, "a"),
		}, nil, nil, errMismatch, short("mug", 11, 10), short("mug", 11, 10), short("mug", 11, 10), nil)
		wantCart(t, db, "ann", map[string]int64{"mug": 2})
		wantCart(t, db, "bob", map[string]int64{"mug": 2})
		if keys := rowsOf(t, db, "idempotency_key"); keys != 3 {
			t.Errorf("%d keys are stored, want 3", keys)
		}
		// A batch of nothing but what is known writes nothing and answers all.
		wantBatch(t, m, []cart.LineChange{addition("ann", "mug", 2, "a"), addition("ann", "mug", 9, "b"), addition("ann", "mug", 1, "b")},
			replayOf(nil), replayOf(short("mug", 11, 10)), errMismatch)
	})
}

func TestKeys_oneKeyOnTwoInstancesHasOneEffect(t *testing.T) {
	t.Parallel()
	withInstances(t, 2, func(t *testing.T, db *database.DB, managers []*cart.Manager) {
		putProduct(t, db, "mug", 1000)
		const keys, repeats = 10, 50
		for i := range keys {
			add := addition(fmt.Sprint("c", i%2), "mug", 1, fmt.Sprint("key", i))
			var done, replayed atomic.Int64
			var wg sync.WaitGroup
			for n := range repeats {
				wg.Go(func() {
					err := managers[n%2].AddToCart(t.Context(), add)
					switch replay, ok := errors.AsType[*idempotency.Replay](err); {
					case err == nil:
						done.Add(1) // the first, and its repeats in the same batch
					case ok && sameError(replay, replayOf(nil)):
						replayed.Add(1)
					default:
						t.Errorf("add: %v", err)
					}
				})
			}
			wg.Wait()
			if done.Load() == 0 || done.Load()+replayed.Load() != repeats {
				t.Errorf("key %d: %d done, %d replayed", i, done.Load(), replayed.Load())
			}
		}
		wantCart(t, db, "c0", map[string]int64{"mug": keys / 2})
		wantCart(t, db, "c1", map[string]int64{"mug": keys / 2})
	})
}

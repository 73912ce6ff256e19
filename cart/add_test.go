package cart_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
	"cartwheel/queue"
)

func TestAddBatch_addIsStoredAndAddedToItsLine(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 10)
		putProduct(t, db, "Mug", 10) // another product
		m := newManager(t, db)
		for _, a := range []cart.LineChange{
			addition("ann", "mug", 2), addition("ann", "mug", 3), addition("ann", "Mug", 1),
			addition("Ann", "mug", 10), // another client; nothing is held by ann's
		} {
			if err := m.AddToCart(t.Context(), a); err != nil {
				t.Errorf("%+v: %v", a, err)
			}
		}
		wantCart(t, db, "ann", map[string]int64{"mug": 5, "Mug": 1})
		wantCart(t, db, "Ann", map[string]int64{"mug": 10})
		if held := rowsOf(t, db, "reserve_purchase"); held != 0 {
			t.Errorf("%d holds were made by adds", held)
		}
	})
}

func TestAddBatch_addIsRefused(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 10)
		execute(t, db, "INSERT INTO product_details (product_id, product_name, quantity) VALUES ('null', NULL, NULL)")
		execute(t, db, "INSERT INTO reserve_purchase (reserve_id, product_id, quantity) VALUES ('c:1', 'mug', 4)")
		putLine(t, db, "full", "mug", 6)
		putLine(t, db, "over", "mug", 8) // came when there was more
		putLine(t, db, "null", "mug", nil)
		putLine(t, db, "zero", "mug", 0)
		m := newManager(t, db)
		for _, test := range []struct {
			add  cart.LineChange
			want error
		}{
			{addition("ann", "gone", 1), gone("gone")},
			{addition("ann", "null", 1), short("null", 1, 0)},
			{addition("ann", "mug", 7), short("mug", 7, 6)},
			{addition("full", "mug", 1), short("mug", 7, 6)},
			{addition("over", "mug", 1), short("mug", 9, 6)},
			{addition("null", "mug", 7), short("mug", 7, 6)},
			{addition("zero", "mug", 7), short("mug", 7, 6)},
		} {
			if err := m.AddToCart(t.Context(), test.add); !sameError(err, test.want) {
				t.Errorf("%+v: got %v, want %v", test.add, err, test.want)
			}
		}
		if lines := rowsOf(t, db, "client_cart"); lines != 4 {
			t.Errorf("%d lines are there, want the 4 that were", lines)
		}
		for _, client := range []string{"null", "zero"} {
			wantCart(t, db, client, map[string]int64{})
			if err := m.AddToCart(t.Context(), addition(client, "mug", 6)); err != nil {
				t.Errorf("%s: %v", client, err)
			}
			wantCart(t, db, client, map[string]int64{"mug": 6})
		}
		wantCart(t, db, "full", map[string]int64{"mug": 6})
		wantCart(t, db, "over", map[string]int64{"mug": 8})
	})
}

func TestAddBatch_refusedAddsOfABatchLeaveNoTrace(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 10)
		putProduct(t, db, "tea", 3)
		putLine(t, db, "bob", "mug", 4)
		putLine(t, db, "cid", "tea", nil)
		putLine(t, db, "dan", "tea", 0)
		m := newManager(t, db)
		wantBatch(t, m, []cart.LineChange{
			addition("ann", "mug", 6), // fits
			addition("ann", "mug", 5), // does not, beside the first
			addition("ann", "mug", 4), // fits again
			addition("ann", "gone", 1),
			addition("bob", "mug", 7),
			addition("bob", "tea", 1),
			addition("cid", "tea", 4),
			addition("dan", "tea", 3),
			addition("dan", "tea", 1),
			addition("eve", "tea", 9),
		}, nil, short("mug", 11, 10), nil, gone("gone"), short("mug", 11, 10), nil, short("tea", 4, 3), nil, short("tea", 4, 3),
			short("tea", 9, 3))
		wantCart(t, db, "ann", map[string]int64{"mug": 10})
		wantCart(t, db, "bob", map[string]int64{"mug": 4, "tea": 1})
		wantCart(t, db, "cid", map[string]int64{})
		wantCart(t, db, "dan", map[string]int64{"tea": 3})
		wantCart(t, db, "eve", map[string]int64{})
		execute(t, db, "DELETE FROM client_cart WHERE quantity IS NULL")
		if lines := rowsOf(t, db, "client_cart"); lines != 4 {
			t.Errorf("%d lines are there, want 4", lines)
		}
	})
}

func TestAddBatch_shortageWithoutAKeyWritesNothing(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 1)
		putLine(t, db, "cid", "mug", nil)
		m := newManager(t, db)
		wantBatch(t, m, []cart.LineChange{addition("ann", "mug", 2), addition("cid", "mug", 2), addition("ann", "gone", 1)},
			short("mug", 2, 1), short("mug", 2, 1), gone("gone"))
		if lines, keys := rowsOf(t, db, "client_cart"), rowsOf(t, db, "idempotency_key"); lines != 1 || keys != 0 {
			t.Errorf("%d lines and %d keys are there, want the line that was", lines, keys)
		}
	})
}

func TestAddBatch_lineThatWouldNotFitItsColumnIsAShortage(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		const most, much = inventory.MaxOnHand, 2_147_483_000
		putProduct(t, db, "mug", most)
		putProduct(t, db, "tea", 5)
		putLine(t, db, "ann", "mug", much)
		m := newManager(t, db)
		if err := m.AddToCart(t.Context(), addition("ann", "mug", much)); !sameError(err, short("mug", 2*much, most)) {
			t.Errorf("got %v", err)
		}
		// With a key the refusal is kept, though no line could be written on the way.
		refused := short("mug", 2*much, most)
		for _, want := range []error{refused, replayOf(refused)} {
			if err := m.AddToCart(t.Context(), addition("ann", "mug", much, "key")); !sameError(err, want) {
				t.Errorf("with a key: got %v, want %v", err, want)
			}
		}
		// Beside others it fails alone, also where only the batch's sum does not fit.
		var wg sync.WaitGroup
		for _, test := range []struct {
			add  cart.LineChange
			want error
		}{
			{addition("ann", "mug", much), short("mug", 2*much, most)},
			{addition("bob", "tea", 2), nil},
			{addition("ann", "tea", 1), nil},
			{addition("dan", "tea", 6), short("tea", 6, 5)},
		} {
			wg.Go(func() {
				if err := m.AddToCart(t.Context(), test.add); !sameError(err, test.want) {
					t.Errorf("%+v: got %v, want %v", test.add, err, test.want)
				}
			})
		}
		wg.Wait()
		wantCart(t, db, "ann", map[string]int64{"mug": much, "tea": 1})

		for range 3 {
			wg.Go(func() {
				if err := m.AddToCart(t.Context(), addition("cid", "mug", most)); err != nil && !errors.Is(err, inventory.ErrNotEnough) {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		wantCart(t, db, "cid", map[string]int64{"mug": most})
	})
}

func TestAddBatch_cartHasAtMost500Lines(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProducts(t, db, 510, 100)
		putLines(t, db, "ann", 498)
		putLine(t, db, "ann", product(498), nil) // no lines, these two
		putLine(t, db, "ann", product(499), 0)
		m := newManager(t, db)
		wantBatch(t, m, []cart.LineChange{
			addition("ann", product(501), 1),
			addition("ann", product(0), 1),       // a line that is there
			addition("ann", product(502), 1_000), // refused for another reason: takes no line
			addition("ann", product(499), 1),     // the 500th, where a line of nothing is
			addition("ann", product(498), 1),     // the 501st
			addition("ann", product(503), 1),
			addition("ann", product(503), 1),
			addition("ann", product(501), 1), // came with this batch
			addition("bob", product(503), 1),
		}, nil, nil, short(product(502), 1_000, 100), nil, cart.ErrTooManyLines, cart.ErrTooManyLines, cart.ErrTooManyLines,
			nil, nil)
		got := cartOf(t, db, "ann")
		if len(got) != 500 || got[product(0)] != 2 || got[product(501)] != 2 || got[product(499)] != 1 {
			t.Errorf("got %d lines, %d, %d and %d units", len(got), got[product(0)], got[product(501)], got[product(499)])
		}
		wantBatch(t, m, []cart.LineChange{addition("ann", product(505), 1), addition("ann", product(1), 1)}, cart.ErrTooManyLines, nil)
		execute(t, db, "DELETE FROM client_cart WHERE client_id = 'ann' AND product_id = ?", product(2))
		wantBatch(t, m, []cart.LineChange{addition("ann", product(505), 1), addition("ann", product(506), 1)}, nil, cart.ErrTooManyLines)
	})
}

func TestAddBatch_instancesTogetherFillACartTo500Lines(t *testing.T) {
	t.Parallel()
	withInstances(t, 2, func(t *testing.T, db *database.DB, managers []*cart.Manager) {
		putProducts(t, db, 520, 100)
		for round := range 10 {
			client := fmt.Sprint("c", round)
			putLines(t, db, client, 499)
			var stored, refused atomic.Int64
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					switch err := managers[i%2].AddToCart(t.Context(), addition(client, product(500+i), 1)); {
					case err == nil:
						stored.Add(1)
					case errors.Is(err, cart.ErrTooManyLines):
						refused.Add(1)
					default:
						t.Errorf("add: %v", err)
					}
				})
			}
			wg.Wait()
			if lines := len(cartOf(t, db, client)); lines != 500 || stored.Load() != 1 || refused.Load() != 9 {
				t.Fatalf("round %d: %d lines, %d stored, %d refused", round, lines, stored.Load(), refused.Load())
			}
		}
	})
}

// A large batch of one client's must not slip past the limit because it cannot see what others add
// meanwhile.
func TestAddBatch_largeBatchesOfThreeInstancesFillACartTo500Lines(t *testing.T) {
	t.Parallel()
	withInstances(t, 3, func(t *testing.T, db *database.DB, managers []*cart.Manager) {
		const each = 240
		putProducts(t, db, 3*each, 100)
		for round := range 3 {
			client := fmt.Sprint("c", round)
			var stored atomic.Int64
			var wg sync.WaitGroup
			start := make(chan struct{})
			for n, m := range managers {
				var batch []cart.LineChange
				for i := range each {
					batch = append(batch, addition(client, product(n*each+i), 1))
				}
				wg.Go(func() {
					<-start
					answers, err := m.AddBatch(t.Context(), batch...)
					if err != nil {
						t.Errorf("batch: %v", err)
						return
					}
					for _, err := range answers {
						if err == nil {
							stored.Add(1)
						} else if !errors.Is(err, cart.ErrTooManyLines) {
							t.Errorf("add: %v", err)
						}
					}
				})
			}
			close(start)
			wg.Wait()
			if lines := len(cartOf(t, db, client)); lines != 500 || stored.Load() != 500 {
				t.Errorf("round %d: %d lines, %d stored, want 500", round, lines, stored.Load())
			}
		}
	})
}

// What a batch answers and stores is what its adds in turn do to a plain map.
func TestAddBatch_batchIsItsAddsInTurn(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		products := []string{"a", "b", "c", "gone"}
		onHand := map[string]int64{"a": 5, "b": 12, "c": 0}
		for id, quantity := range onHand {
			putProduct(t, db, id, quantity)
		}
		m := newManager(t, db)
		type line struct{ client, product string }
		stored := map[line]int64{}
		runs := 0
		rapid.Check(t, func(t *rapid.T) {
			if runs++; runs%7 == 0 {
				execute2(t, db, "DELETE FROM client_cart")
				clear(stored)
			}
			var batch []cart.LineChange
			var want []error
			for range rapid.IntRange(1, 12).Draw(t, "adds") {
				a := addition(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "client"),
					rapid.SampledFrom(products).Draw(t, "product"), rapid.Int64Range(1, 8).Draw(t, "quantity"))
				batch = append(batch, a)
				key := line{a.ClientID, a.ProductID}
				available, exists := onHand[a.ProductID]
				switch after := stored[key] + a.Quantity; {
				case !exists:
					want = append(want, gone(a.ProductID))
				case after > available:
					want = append(want, short(a.ProductID, after, available))
				default:
					want = append(want, nil)
					stored[key] = after
				}
			}
			got, err := m.AddBatch(context.Background(), batch...)
			if err != nil {
				t.Fatalf("batch: %v", err)
			}
			for i := range got {
				if !sameError(got[i], want[i]) {
					t.Fatalf("%+v of %+v: got %v, want %v", batch[i], batch, got[i], want[i])
				}
			}
			kept := map[line]int64{}
			err = db.Read(context.Background(), func(tx *database.Tx) error {
				for _, client := range []string{"x", "y"} {
					lines, err := new(cart.Store).Get(context.Background(), tx, client)
					if err != nil {
						return err
					}
					for _, l := range lines {
						kept[line{client, l.ProductID}] = l.Quantity
					}
				}
				return nil
			})
			if diff := cmp.Diff(stored, kept); err != nil || diff != "" {
				t.Fatalf("carts (-want +got, %v):\n%s", err, diff)
			}
		})
	})
}

func execute2(t *rapid.T, db *database.DB, statement string) {
	err := db.Transact(context.Background(), func(tx *database.Tx) error {
		_, err := tx.Exec(context.Background(), statement)
		return err
	}, nil)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestAddBatch_addsInOppositeOrdersReachNoDeadlock(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		const callers, adds, clients, products = 512, 12, 64, 4
		var retries atomic.Int64
		observe := database.Observer{Retry: func(string) { retries.Add(1) }}
		var db *database.DB
		var managers []*cart.Manager
		for range 2 {
			db = databasetest.Open(t, database.Config{MySQLDSN: dsn, Observe: observe})
			managers = append(managers, newManager(t, db))
		}
		putProducts(t, db, products, 1_000_000)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				for range adds {
					a := addition(fmt.Sprint("client-", rand.IntN(clients)), product(rand.IntN(products)), 1)
					if err := managers[i%2].AddToCart(t.Context(), a); err != nil {
						t.Errorf("add: %v", err)
					}
				}
			})
		}
		wg.Wait()
		var stored int64
		for i := range clients {
			for _, quantity := range cartOf(t, db, fmt.Sprint("client-", i)) {
				stored += quantity
			}
		}
		if stored != callers*adds {
			t.Errorf("%d units are stored, want %d", stored, callers*adds)
		}
		if n := retries.Load(); n != 0 {
			t.Errorf("%d transactions were retried, want none", n)
		}
	})
}

// A gatedStock holds a batch up in the middle of its transaction.
type gatedStock struct {
	*inventory.Manager
	entered, opened chan struct{}
	once            sync.Once
}

func (g *gatedStock) ReadLevels(b *database.Batch, ids []string) *inventory.Stock {
	g.once.Do(func() {
		close(g.entered)
		<-g.opened
	})
	return g.Manager.ReadLevels(b, ids)
}

func TestAddBatch_fullQueueRefusesAllButKnownKeys(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "mug", 10)
		if err := newManager(t, db).AddToCart(t.Context(), addition("ann", "mug", 1, "known")); err != nil {
			t.Fatal(err)
		}
		gate := &gatedStock{Manager: inventory.New(db), entered: make(chan struct{}), opened: make(chan struct{})}
		m := newManager(t, db, func(c *managerConfig) { c.QueueCapacity, c.stock = 1, gate })
		var wg sync.WaitGroup
		add := func() {
			wg.Go(func() {
				if err := m.AddToCart(t.Context(), addition("ann", "mug", 1)); err != nil {
					t.Errorf("an add that was accepted: %v", err)
				}
			})
		}
		add()
		<-gate.entered
		add() // of the same client, and so behind the first
		eventually(t, "the queue is full", m.Full)

		for _, test := range []struct {
			add  cart.LineChange
			want error
		}{
			{addition("ann", "mug", 1), queue.ErrFull},
			{addition("ann", "mug", 1, "new"), queue.ErrFull},
			{addition("bob", "mug", 1, "known"), queue.ErrFull}, // keys are a client's own
			{addition("ann", "mug", 1, "known"), replayOf(nil)},
			{addition("ann", "mug", 2, "known"), errMismatch},
		} {
			if err := m.AddToCart(t.Context(), test.add); !sameError(err, test.want) {
				t.Errorf("%+v: got %v, want %v", test.add, err, test.want)
			}
		}
		close(gate.opened)
		wg.Wait()
		wantCart(t, db, "ann", map[string]int64{"mug": 3})
		wantCart(t, db, "bob", map[string]int64{})

		// After Close, too.
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.AddToCart(t.Context(), addition("ann", "mug", 1, "known")); !sameError(err, replayOf(nil)) {
			t.Errorf("a known key after Close: got %v", err)
		}
		if err := m.AddToCart(t.Context(), addition("ann", "mug", 1, "new")); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("a new key after Close: got %v", err)
		}
	})
}

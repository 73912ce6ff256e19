package cart_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

// wantChanges makes changes in one batch and compares what they are answered; nil is Success.
func wantChanges(t *testing.T, m *cart.Manager, changes []cart.Change, want ...error) {
	t.Helper()
	got, err := m.ApplyBatch(t.Context(), changes...)
	if err != nil {
		t.Fatalf("the batch failed: %v", err)
	}
	for i := range got {
		if !sameError(got[i], want[i]) {
			t.Errorf("change %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

// Spree issue 9603 and Reaction issue 1003: a line of a product that is sold out could be neither
// lowered nor removed.
func TestUpdate_loweringAndRemovingSucceedWhateverTheStock(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "sold out", 0)
		for _, product := range []string{"sold out", "gone"} {
			putLine(t, db, "ann", product, 5)
		}
		m := newManager(t, db)
		wantChanges(t, m, []cart.Change{
			cart.Update(addition("ann", "sold out", 5)), cart.Update(addition("ann", "gone", 3)),
			cart.Update(addition("ann", "sold out", 2)), cart.Update(addition("ann", "never there", 0)),
		}, nil, nil, nil, nil)
		wantCart(t, db, "ann", map[string]int64{"sold out": 2, "gone": 3})
		if err := m.UpdateCart(t.Context(), addition("ann", "sold out", 0)); err != nil {
			t.Fatal(err)
		}
		if err := m.UpdateCart(t.Context(), addition("ann", "gone", 0)); err != nil {
			t.Fatal(err)
		}
		wantCart(t, db, "ann", map[string]int64{})
		if n := rowsOf(t, db, "client_cart"); n != 0 {
			t.Errorf("%d rows are left of an empty cart", n)
		}
	})
}

func TestUpdate_raisingIsCheckedLikeAnAdd(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "tea", 5)
		putLines(t, db, "full", cart.MaxLines)
		m := newManager(t, db)
		wantChanges(t, m, []cart.Change{
			cart.Update(addition("ann", "tea", 6)), cart.Update(addition("ann", "gone", 1)), cart.Update(addition("full", "tea", 1)),
			cart.Update(addition("ann", "tea", 5)), cart.Update(addition("ann", "tea", math.MaxInt32)),
		}, short("tea", 6, 5), gone("gone"), cart.ErrTooManyLines, nil, short("tea", math.MaxInt32, 5))
		wantCart(t, db, "ann", map[string]int64{"tea": 5})
	})
}

// Spree issue 5976 and Magento issue 26981: a customer who logged in lost what the guest had in the
// cart, because one line was short.
func TestMerge_isNeverRefusedForStock(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "tea", 1)
		for client, lines := range map[string]map[string]int{
			"guest": {"tea": 3, "gone": 2, "pen": 1}, "ann": {"tea": 2, "ink": 1},
		} {
			for product, quantity := range lines {
				putLine(t, db, client, product, quantity)
			}
		}
		m := newManager(t, db)
		if err := m.MergeCarts(t.Context(), "guest", "ann", ""); err != nil {
			t.Fatal(err)
		}
		wantCart(t, db, "ann", map[string]int64{"tea": 5, "gone": 2, "pen": 1, "ink": 1})
		wantCart(t, db, "guest", map[string]int64{})
	})
}

func TestMerge_beyondTheLimitsMovesNothing(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putLines(t, db, "ann", cart.MaxLines)
		putLine(t, db, "ann", "large", math.MaxInt32-1) // restored past the limit
		putLine(t, db, "guest", "one more", 1)
		putLine(t, db, "known", product(7), 1)
		putLine(t, db, "large", "large", 2)
		m := newManager(t, db)
		wantChanges(t, m, []cart.Change{
			cart.Merge("guest", "ann", ""), cart.Merge("large", "ann", ""), cart.Merge("known", "ann", ""), cart.Merge("nobody", "ann", ""),
		}, cart.ErrTooManyLines, cart.ErrTooManyLines, nil, nil)
		wantCart(t, db, "guest", map[string]int64{"one more": 1})
		wantCart(t, db, "large", map[string]int64{"large": 2})
		if got := cartOf(t, db, "ann"); len(got) != cart.MaxLines+1 || got[product(7)] != 2 {
			t.Errorf("the cart has %d lines, and %d of the known product", len(got), got[product(7)])
		}
	})
}

// A removal whose answer was lost is repeated after the customer has added the product again.
func TestUpdate_repeatedRemovalSparesALaterAdd(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "tea", 9)
		m := newManager(t, db)
		ctx := t.Context()
		for step, do := range []func() error{
			func() error { return m.AddToCart(ctx, addition("ann", "tea", 2)) },
			func() error { return m.UpdateCart(ctx, addition("ann", "tea", 0, "remove")) },
			func() error { return m.EmptyCart(ctx, "ann", "empty") },
			func() error { return m.MergeCarts(ctx, "ann", "bob", "merge") },
			func() error { return m.AddToCart(ctx, addition("ann", "tea", 3)) },
		} {
			if err := do(); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
		}
		for name, repeat := range map[string]error{
			"remove": m.UpdateCart(ctx, addition("ann", "tea", 0, "remove")),
			"empty":  m.EmptyCart(ctx, "ann", "empty"),
			"merge":  m.MergeCarts(ctx, "ann", "bob", "merge"),
		} {
			if !sameError(repeat, replayOf(nil)) {
				t.Errorf("the repeat of %s was answered %v, want the first answer", name, repeat)
			}
		}
		if err := m.MergeCarts(ctx, "eve", "bob", "merge"); !sameError(err, idempotency.ErrMismatch) {
			t.Errorf("the key of another merge was answered %v", err)
		}
		wantCart(t, db, "ann", map[string]int64{"tea": 3})
	})
}

// What a batch answers and stores is what its changes in turn do to a plain map.
func TestApplyBatch_batchIsItsChangesInTurn(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		products, clients := []string{"a", "b", "c", "gone"}, []string{"x", "y", "z"}
		onHand := map[string]int64{"a": 5, "b": 12, "c": 0}
		for id, quantity := range onHand {
			putProduct(t, db, id, quantity)
		}
		m := newManager(t, db)
		carts := map[string]map[string]int64{"x": {}, "y": {}, "z": {}}
		raise := func(client, product string, after int64) error {
			available, exists := onHand[product]
			switch {
			case after <= carts[client][product]:
			case !exists:
				return gone(product)
			case after > available:
				return short(product, after, available)
			}
			if carts[client][product] = after; after == 0 {
				delete(carts[client], product)
			}
			return nil
		}
		rapid.Check(t, func(t *rapid.T) {
			var changes []cart.Change
			var want []error
			for range rapid.IntRange(1, 10).Draw(t, "changes") {
				client, product := rapid.SampledFrom(clients).Draw(t, "client"), rapid.SampledFrom(products).Draw(t, "product")
				switch rapid.IntRange(0, 7).Draw(t, "kind") {
				case 0:
					changes, want = append(changes, cart.Empty(client, "")), append(want, nil)
					clear(carts[client])
				case 1:
					other := clients[(slices.Index(clients, client)+1)%3]
					changes, want = append(changes, cart.Merge(client, other, "")), append(want, nil)
					for product, quantity := range carts[client] {
						carts[other][product] += quantity
					}
					clear(carts[client])
				case 2, 3, 4:
					quantity := rapid.Int64Range(0, 8).Draw(t, "quantity")
					changes = append(changes, cart.Update(addition(client, product, quantity)))
					want = append(want, raise(client, product, quantity))
				default:
					quantity := rapid.Int64Range(1, 8).Draw(t, "quantity")
					changes = append(changes, cart.Add(addition(client, product, quantity)))
					want = append(want, raise(client, product, carts[client][product]+quantity))
				}
			}
			got, err := m.ApplyBatch(context.Background(), changes...)
			if err != nil {
				t.Fatalf("batch: %v", err)
			}
			for i := range got {
				if !sameError(got[i], want[i]) {
					t.Fatalf("change %d of %+v: got %v, want %v", i, changes, got[i], want[i])
				}
			}
			for client, lines := range carts {
				stored := map[string]int64{}
				if err := db.Read(context.Background(), func(tx *database.Tx) error {
					found, err := new(cart.Store).Get(context.Background(), tx, client)
					for _, line := range found {
						stored[line.ProductID] = line.Quantity
					}
					return err
				}); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(lines, stored); diff != "" {
					t.Fatalf("cart of %s (-want +got):\n%s", client, diff)
				}
			}
		})
	})
}

// Instances change and merge the same carts at once: no unit is lost or made.
func TestMerge_concurrentMergesAndAddsKeepEveryUnit(t *testing.T) {
	t.Parallel()
	withInstances(t, 2, func(t *testing.T, db *database.DB, managers []*cart.Manager) {
		const rounds = 30
		putProduct(t, db, "tea", math.MaxInt32)
		clients := []string{"ann", "bob", "guest"}
		var all sync.WaitGroup
		var mu sync.Mutex
		added := int64(0)
		for i, m := range managers {
			for j := range clients {
				all.Go(func() {
					for round := range rounds {
						client, other := clients[j], clients[(i+j+round)%3]
						if err := m.AddToCart(t.Context(), addition(client, "tea", 1)); err != nil {
							t.Errorf("add: %v", err)
							continue
						}
						mu.Lock()
						added++
						mu.Unlock()
						if client == other {
							continue
						}
						if err := m.MergeCarts(t.Context(), client, other, ""); err != nil {
							t.Errorf("merge: %v", err)
						}
					}
				})
			}
		}
		all.Wait()
		stored := int64(0)
		for _, client := range clients {
			stored += cartOf(t, db, client)["tea"]
		}
		if stored != added {
			t.Errorf("%d units are in the carts, %d were added", stored, added)
		}
	})
}

// A stalledStock holds its first batch back until it is told to go on.
type stalledStock struct {
	checker
	once    sync.Once
	stalled chan struct{} // closed when the first batch waits
	release chan struct{}
}

func (s *stalledStock) ReadLevels(b *database.Batch, ids []string) *inventory.Stock {
	s.once.Do(func() {
		close(s.stalled)
		<-s.release
	})
	return s.checker.ReadLevels(b, ids)
}

func TestMerge_followsEarlierAndPrecedesLaterChanges(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "tea", 100)
		for range 6 { // by chance the clients have one worker
			testMergeOrder(t, db)
		}
	})
}

func testMergeOrder(t *testing.T, db *database.DB) {
	t.Helper()
	execute(t, db, "DELETE FROM client_cart")
	stock := &stalledStock{stalled: make(chan struct{}), release: make(chan struct{})}
	release := sync.OnceFunc(func() { close(stock.release) })
	m := newManager(t, db, func(c *managerConfig) { stock.checker, c.stock = c.stock, stock })
	defer release()
	var all sync.WaitGroup
	begin := func(do func() error) {
		all.Go(func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		})
	}
	begin(func() error { return m.AddToCart(t.Context(), addition("guest", "tea", 1)) })
	<-stock.stalled
	begin(func() error { return m.MergeCarts(t.Context(), "guest", "ann", "") })
	eventually(t, "the merge has begun", func() bool { return m.Merging() == 1 })
	begin(func() error { return m.AddToCart(t.Context(), addition("guest", "tea", 10)) })
	begin(func() error { return m.EmptyCart(t.Context(), "ann", "") })
	release()
	all.Wait()
	wantCart(t, db, "guest", map[string]int64{"tea": 10})
	wantCart(t, db, "ann", map[string]int64{})
}

// Neither instance can lock a line that does not exist yet.
func TestUpdate_instancesThatSetALineAtOnceDoNotAddUp(t *testing.T) {
	t.Parallel()
	withInstances(t, 2, func(t *testing.T, db *database.DB, managers []*cart.Manager) {
		putProduct(t, db, "tea", 100)
		for round := range 100 {
			client := fmt.Sprint("client-", round)
			var both sync.WaitGroup
			for _, m := range managers {
				both.Go(func() {
					if err := m.UpdateCart(t.Context(), addition(client, "tea", 5)); err != nil {
						t.Error(err)
					}
				})
			}
			both.Wait()
			wantCart(t, db, client, map[string]int64{"tea": 5})
		}
	})
}

// A repeat looks its key up before anything else, also where it cannot wait for its turn.
func TestMerge_repeatIsAnsweredBesideAnotherMerge(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "tea", 100)
		m := newManager(t, db)
		if err := m.MergeCarts(t.Context(), "guest", "ann", "merge"); err != nil {
			t.Fatal(err)
		}
		if err := m.UpdateCart(t.Context(), addition("ann", "tea", 1, "update")); err != nil {
			t.Fatal(err)
		}
		end := m.BeginMerge(t, "bob", "ann")
		defer end()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, err := range map[string]error{
			"merge":  m.MergeCarts(ctx, "guest", "ann", "merge"),
			"update": m.UpdateCart(ctx, addition("ann", "tea", 1, "update")),
		} {
			if !sameError(err, replayOf(nil)) {
				t.Errorf("the repeat of the %s was answered %v, want the first answer", name, err)
			}
		}
	})
}

func TestMerge_callerWhoLeavesWhileAnotherMergeRunsChangesNothing(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "tea", 100)
		stock := &stalledStock{stalled: make(chan struct{}), release: make(chan struct{})}
		m := newManager(t, db, func(c *managerConfig) { stock.checker, c.stock = c.stock, stock })
		var all sync.WaitGroup
		all.Go(func() { _ = m.AddToCart(t.Context(), addition("guest", "tea", 1)) })
		<-stock.stalled
		all.Go(func() { _ = m.MergeCarts(t.Context(), "guest", "ann", "") })
		eventually(t, "the merge has begun", func() bool { return m.Merging() == 1 })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for name, err := range map[string]error{
			"add": m.AddToCart(ctx, addition("guest", "tea", 10)), "merge": m.MergeCarts(ctx, "eve", "guest", ""),
		} {
			if err == nil {
				t.Errorf("%s succeeded", name)
			}
		}
		close(stock.release)
		all.Wait()
		wantCart(t, db, "ann", map[string]int64{"tea": 1})
		if n := m.Merging(); n != 0 {
			t.Errorf("%d merges are still under way", n)
		}
	})
}

func TestEmpty_removesEveryLineOfItsClientAlone(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putLines(t, db, "ann", 300)
		putLine(t, db, "Ann", "tea", 1)
		m := newManager(t, db)
		for range 2 {
			if err := m.EmptyCart(t.Context(), "ann", ""); err != nil {
				t.Fatal(err)
			}
		}
		wantCart(t, db, "ann", map[string]int64{})
		wantCart(t, db, "Ann", map[string]int64{"tea": 1})
	})
}

// One client's changes are done in the order in which they came, whatever their kind.
func TestChanges_ofOneClientKeepTheirOrder(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProduct(t, db, "tea", 1000)
		m := newManager(t, db)
		want := map[string]int64{}
		var changes []cart.Change
		for i := range 60 {
			client := fmt.Sprint("c", i%5)
			switch i % 4 {
			case 0:
				changes, want[client] = append(changes, cart.Update(addition(client, "tea", int64(i+1)))), int64(i+1)
			case 1:
				changes, want[client] = append(changes, cart.Empty(client, "")), 0
			default:
				changes, want[client] = append(changes, cart.Add(addition(client, "tea", 2))), want[client]+2
			}
		}
		wantChanges(t, m, changes, make([]error, len(changes))...)
		for client := range maps.Keys(want) {
			if got := cartOf(t, db, client)["tea"]; got != want[client] {
				t.Errorf("%s has %d, want %d", client, got, want[client])
			}
		}
	})
}

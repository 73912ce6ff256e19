package checkout_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
	"cartwheel/payment"
)

func TestBatches_mixedBatchOfCheckoutsIsReservedTogether(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const each = 6         // clients of each kind
		s.stock("pen", 3*each) // just enough: what is refused must leave its first line to others
		s.stock("zinc", 5)
		s.decoys()
		kinds := []string{"sold", "short", "empty", "keyed"}
		for i := range each {
			s.add(fmt.Sprint("sold-", i), "pen", 1)
			s.add(fmt.Sprint("short-", i), "pen", 1)
			s.add(fmt.Sprint("short-", i), "zinc", 6)
			s.add(fmt.Sprint("keyed-", i), "pen", 2)
		}
		st, done := newStall(), make(batches, 1<<10)
		in := s.open(settings{Config: checkout.Config{ObserveReserve: done.observer()}, carts: &watchedCarts{lock: st.pass}})
		decoys, waiting := st.occupy(in, reserves)
		calls := map[string][]*call{}
		for i := range each {
			for _, kind := range kinds {
				client, key := fmt.Sprint(kind, "-", i), ""
				if kind == "keyed" {
					key = "k"
					calls["repeat"] = append(calls["repeat"], in.beginKeyed(client, key))
				}
				calls[kind] = append(calls[kind], in.beginKeyed(client, key))
			}
		}
		jobs := each*(len(kinds)+1) + waiting
		eventually(t, "all wait", func() bool { return in.depth(reserves) == jobs })
		st.open()

		allSold(t, decoys)
		allSold(t, calls["sold"])
		for i := range each {
			wantErr(t, calls["short"][i].end(), inventory.ErrNotEnough)
			wantErr(t, calls["empty"][i].end(), cart.ErrEmpty)
			var replay *idempotency.Replay
			first, second := calls["keyed"][i].end(), calls["repeat"][i].end()
			if (first == nil) == (second == nil) || !errors.As(errors.Join(first, second), &replay) {
				t.Errorf("a request and its repeat were answered %v and %v, want a sale and its replay", first, second)
			}
		}
		want(t, "zinc on hand", s.onHand("zinc"), 5)
		done.together(t, checkout.Workers, jobs, jobs+len(decoys)-waiting)
	})
}

func TestBatches_mixedBatchOfEndsIsSettledTogether(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 100)
		s.stock("rare", 100)
		s.decoys()
		const each = 6 // clients of each kind
		for i := range each {
			s.add(fmt.Sprint("sold-", i), "book", 1)
			s.add(fmt.Sprint("declined-", i), "book", 1)
			s.add(fmt.Sprint("declined-", i), "rare", 3) // short as well, and nobody asks
			s.add(fmt.Sprint("short-", i), "book", 1)
			s.add(fmt.Sprint("short-", i), "rare", 3)
		}
		st, done := newStall(), make(batches, 1<<10)
		var stalled atomic.Bool
		stalled.Store(true)
		commits := atomic.Int64{}
		in := s.open(settings{
			Config: checkout.Config{ObserveSettle: done.observer()},
			stock: &watchedStock{commit: func(sales int) {
				commits.Add(1)
				if stalled.Load() {
					st.pass(sales)
				}
			}},
		})
		held := in.till.hold()
		in.till.charges(func(ctx context.Context, order payment.Order) (payment.Result, error) {
			if strings.HasPrefix(order.ClientID, "decoy") {
				return s.ledger.approve(ctx, order)
			}
			return held.charge(ctx, order)
		})
		calls := map[string][]*call{}
		for i := range each {
			for _, kind := range []string{"sold", "declined", "short"} {
				calls[kind] = append(calls[kind], in.begin(fmt.Sprint(kind, "-", i)))
			}
		}
		held.await(t, 3*each)
		s.lower("rare", 100-2*3) // enough for two
		decoys, waiting := st.occupy(in, settles)
		held.open(func(ctx context.Context, order payment.Order) (payment.Result, error) {
			if strings.HasPrefix(order.ClientID, "declined") {
				return s.ledger.decline("no")(ctx, order)
			}
			return s.ledger.approve(ctx, order)
		})
		jobs := 3*each + waiting
		eventually(t, "all wait", func() bool { return in.depth(settles) == jobs })
		stalled.Store(false)
		st.open()

		allSold(t, decoys)
		allSold(t, calls["sold"])
		refunded := 0
		for i := range each {
			wantErr(t, calls["declined"][i].end(), checkout.ErrDeclined)
			if err := calls["short"][i].end(); err != nil {
				wantErr(t, err, checkout.ErrRefunded)
				refunded++
			}
		}
		want(t, "refunded for want of stock", refunded, each-2)
		parallel := checkout.Workers
		done.together(t, parallel, jobs, jobs+len(decoys)-waiting+refunded)
		if n := commits.Load(); n > int64(3*parallel+2*refunded) {
			t.Errorf("the settles took %d transactions", n)
		}
	})
}

// One transaction locks a bounded number of lines: what is more waits for the next one of the same
// batch.
func TestBatches_cartsOfManyLinesInOneBatchAllSettle(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const clients, lines = 6, 450 // more than 2,048 together
		products := map[string]int64{}
		var added []cart.ClientLine
		for i := range lines {
			product := fmt.Sprintf("p%03d", i)
			products[product] = clients
			for c := range clients {
				added = append(added, cart.ClientLine{ClientID: fmt.Sprint("client-", c), Line: inventory.Line{ProductID: product, Quantity: 1}})
			}
		}
		s.stockAll(products)
		s.addAll(added...)
		s.decoys()
		st, done := newStall(), make(batches, 1<<10)
		transactions := atomic.Int64{}
		in := s.open(settings{
			Config: checkout.Config{ObserveReserve: done.observer()},
			carts: &watchedCarts{lock: func(clients int) {
				transactions.Add(1)
				st.pass(clients)
			}},
		})
		decoys, waiting := st.occupy(in, reserves)
		var calls, keyed []*call
		for c := range clients - 1 {
			calls = append(calls, in.begin(fmt.Sprint("client-", c)))
		}
		for range 2 { // the last in order, and its repeat
			keyed = append(keyed, in.beginKeyed(fmt.Sprint("client-", clients-1), "k"))
		}
		eventually(t, "all wait", func() bool { return in.depth(reserves) == clients+1+waiting })
		st.open()
		allSold(t, decoys)
		allSold(t, calls)
		var replay *idempotency.Replay
		if first, second := keyed[0].end(), keyed[1].end(); (first == nil) == (second == nil) || !errors.As(errors.Join(first, second), &replay) {
			t.Errorf("a request and its repeat were answered %v and %v, want a sale and its replay", first, second)
		}
		want(t, "on hand", s.onHand("p000"), 0)
		if s.db.Embedded() {
			// The decoy's, one as large as may be, and those of what that one left, which comes
			// back as it may.
			if n := transactions.Load(); n < 3 {
				t.Errorf("%d transactions: nothing was left for another one", n)
			}
		}
	})
}

func TestBatches_batchSizeOfOneSellsAsWell(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 30)
		in := s.open(settings{Config: checkout.Config{BatchSize: 1}})
		var calls []*call
		for i := range 40 {
			client := fmt.Sprint("client-", i)
			s.add(client, "book", 1)
			calls = append(calls, in.begin(client))
		}
		sold := 0
		for _, c := range calls {
			if err := c.end(); err == nil {
				sold++
			} else {
				wantErr(t, err, inventory.ErrNotEnough)
			}
		}
		want(t, "sales", sold, 30)
	})
}

func TestBatches_instancesDoNotOversell(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		const units, buyers = 100, 500
		s.stock("hot", units)
		var added []cart.ClientLine
		for i := range buyers {
			added = append(added, cart.ClientLine{ClientID: fmt.Sprint("client-", i), Line: inventory.Line{ProductID: "hot", Quantity: 1}})
		}
		s.addAll(added...)
		instances := []*instance{s.open(settings{}), s.open(settings{Config: checkout.Config{BatchSize: 7}}), s.open(settings{})}
		var sold atomic.Int64
		var buying sync.WaitGroup
		for i := range buyers {
			buying.Go(func() {
				if err := instances[i%len(instances)].buyPatiently(fmt.Sprint("client-", i)); err == nil {
					sold.Add(1)
				} else {
					wantErr(t, err, inventory.ErrNotEnough)
				}
			})
		}
		buying.Wait()
		want(t, "sales", sold.Load(), units)
		want(t, "on hand", s.onHand("hot"), 0)
	})
}

// What another instance has just reserved counts: the sum of what is held is read after the product
// is locked.
func TestBatches_lastUnitIsSoldOnce(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		s.stock("last", 1)
		s.add("ada", "last", 1)
		s.add("bob", "last", 1)
		locked, asked := newStall(), make(chan struct{}, 8)
		t.Cleanup(locked.open)
		one := s.open(settings{stock: &watchedStock{locked: func() { locked.pass(1) }}})
		other := s.open(settings{stock: &watchedStock{lock: func() { asked <- struct{}{} }}})
		held := one.till.hold()
		ada := one.begin("ada")
		<-locked.entered // one has the product locked, and has not written yet
		bob := other.begin("bob")
		<-asked
		locked.open()
		wantErr(t, bob.end(), inventory.ErrNotEnough)
		held.open(s.ledger.approve)
		wantErr(t, ada.end(), nil)
	})
}

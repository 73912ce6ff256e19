package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/inventory"
)

// watch looks at every product again and again, each time all of one moment, until stop is called,
// which returns how often it found something held. No product may ever have more held than there
// is.
func (c *chaos) watch() (stop func() (looks int)) {
	c.t.Helper()
	db, err := database.Open(context.Background(), c.store.config)
	if err != nil {
		c.t.Fatalf("open the books: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watchers sync.WaitGroup
	var looks atomic.Int64
	look := func(tx *database.Tx) error {
		held := false
		err := inventory.EachLevel(ctx, tx, func(id string, level inventory.Level) error {
			if level.Reserved < 0 || level.Reserved > level.OnHand {
				c.violationf("product %s: %d are held and %d on hand", id, level.Reserved, level.OnHand)
			}
			held = held || level.Reserved > 0
			return nil
		})
		if held && err == nil {
			looks.Add(1)
		}
		return err
	}
	for range 2 { // as many as there are connections for this
		watchers.Go(func() {
			for ctx.Err() == nil {
				if err := db.Snapshot(ctx, look); err != nil && ctx.Err() == nil {
					c.t.Errorf("look at the stock: %v", err)
					return
				}
			}
		})
	}
	return func() int {
		cancel()
		watchers.Wait()
		if err := db.Close(); err != nil {
			c.t.Errorf("close the books: %v", err)
		}
		return int(looks.Load())
	}
}

// atOnce lets that many clients do something at the same moment, and waits for all.
func atOnce(clients int, do func(client int)) {
	begin := make(chan struct{})
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			<-begin
			do(n)
		})
	}
	close(begin)
	all.Wait()
}

// insist asks again where a client else kept a row locked for two seconds, which a busy machine may
// bring about: it is told as it is, and nothing was done. A deadlock is told in other words.
func insist(ask func() reply) reply {
	got := ask()
	for got.Code == 503 && strings.Contains(got.Error, "locked by someone else") {
		got = ask()
	}
	return got
}

func TestInstances_doNotOversell(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"ticket": 100})
		gateway := []string{"--payment-url", slow(t, c.payments, 200*time.Millisecond)} // so that holds meet sales
		c.shoppers.visits(c.start(gateway...), c.start(gateway...), c.start(gateway...))
		const buyers = 2000
		atOnce(buyers, func(n int) {
			if got := c.shoppers.add(t.Context(), dice(), fmt.Sprint("fan-", n), "ticket", 1, ""); got.Code != 200 {
				t.Errorf("nothing is held by an add, and this one was answered %v", got)
			}
		})
		stop := c.watch()
		began := time.Now()
		var bought, refused atomic.Int64
		atOnce(buyers, func(n int) { // with a key: the one who is asked to come back later does
			switch got := c.shoppers.buy(t.Context(), dice(), fmt.Sprint("fan-", n), "key"); got.Code {
			case 200:
				bought.Add(1)
			case 409:
				refused.Add(1)
			default:
				c.violationf("a buyer was answered %v", got)
			}
		})
		took := time.Since(began)
		looks := stop()
		if bought.Load() != 100 || refused.Load() != buyers-100 {
			c.violationf("%d were sold and %d refused with 409, want 100 and %d", bought.Load(), refused.Load(), buyers-100)
		}
		if sold := c.store.snapshot(t).sold()["ticket"]; sold != 100 {
			c.violationf("%d tickets are sold, want 100", sold)
		}
		if looks < 3 {
			t.Errorf("tickets were held at %d looks, want 3 or more to say anything", looks)
		}
		c.notef("held against on hand at %d moments in %v", looks, took.Round(time.Millisecond))
		c.check()
	})
}

func TestCheckout_lastUnitIsSoldOnce(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		last := shortOrLong(40, 1000)
		stocked := map[string]int{}
		for n := range last {
			stocked[fmt.Sprint("last-", n)] = 1
		}
		c := newChaos(t, s, stocked)
		shops := []*instance{c.start()}
		if s.config.MySQLDSN != "" {
			shops = append(shops, c.start())
		}
		c.shoppers.visits(shops...)
		const rivals = 4
		var mu sync.Mutex
		bought, refused := map[int]int{}, map[int]int{}
		atOnce(last*rivals, func(n int) {
			if got := c.shoppers.add(t.Context(), dice(), fmt.Sprint("rival-", n), fmt.Sprint("last-", n/rivals), 1, "key"); got.Code != 200 {
				t.Errorf("add: %v", got)
			}
		})
		atOnce(last*rivals, func(n int) {
			got := c.shoppers.buy(t.Context(), dice(), fmt.Sprint("rival-", n), "key")
			mu.Lock()
			defer mu.Unlock()
			switch got.Code {
			case 200:
				bought[n/rivals]++
			case 409:
				refused[n/rivals]++
			default:
				t.Errorf("a checkout of a last unit was answered %v", got)
			}
		})
		for n := range last {
			if bought[n] != 1 || refused[n] != rivals-1 {
				c.violationf("the last unit of product %d: %d bought and %d were refused, want 1 and %d", n, bought[n], refused[n], rivals-1)
			}
		}
		c.check()
	})
}

func TestCheckout_oppositeOrderShowsNoDeadlock(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		products := []string{"a", "b", "c", "d", "e", "f", "g", "h"} // a and b are the hot ones
		stocked := map[string]int{}
		for _, id := range products {
			stocked[id] = 10_000_000
		}
		c := newChaos(t, s, stocked)
		c.shoppers.visits(c.start(), c.start())
		const clients = 64
		rounds := shortOrLong(6, 300)
		atOnce(clients, func(n int) {
			random := rand.New(rand.NewPCG(uint64(n), 12))
			client := fmt.Sprint("client-", n)
			if n%8 == 7 {
				client = "decline-" + client // whose lines go back into the cart
			}
			for range rounds {
				lines := [][]string{{"a", "b"}, {"b", "a"}, {"h", "b", "a"}, nil}[n%4]
				if lines == nil {
					for _, i := range random.Perm(len(products)) {
						lines = append(lines, products[i])
					}
				}
				for _, product := range lines {
					if got := insist(func() reply { return c.shoppers.add(t.Context(), random, client, product, 1, "") }); got.Code != 200 {
						c.violationf("an add was answered %v", got)
					}
				}
				got := insist(func() reply { return c.shoppers.buy(t.Context(), random, client, "") })
				if got.Code != 200 && (n%8 != 7 || got.Code != 402) {
					c.violationf("a checkout was answered %v", got)
				}
			}
		})
		if open := c.store.snapshot(t).open(); open != 0 {
			c.violationf("%d checkouts are in flight when all are answered", open)
		}
		c.check()
	})
}

func TestAdd_concurrentAddsAreNotLost(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"lamp": 1_000_000, "chair": 1_000_000})
		shops := []*instance{c.start()}
		if s.config.MySQLDSN != "" {
			shops = append(shops, c.start())
		}
		c.shoppers.visits(shops...)
		// Everybody adds to the same two lines, while they are taken out by checkouts that are
		// declined, and put back.
		const family = "decline-family"
		adds := shortOrLong(12, 500)
		atOnce(32, func(n int) {
			random := dice()
			for i := range adds {
				got := insist(func() reply {
					return c.shoppers.add(t.Context(), random, family, []string{"lamp", "chair"}[i%2], 1+n%3, "")
				})
				if got.Code != 200 {
					c.violationf("an add was answered %v", got)
				}
				if n == 0 {
					c.shoppers.buy(t.Context(), random, family, "")
				}
			}
		})
		var want, got int64
		for n := range 32 {
			want += int64(adds * (1 + n%3))
		}
		for _, units := range s.snapshot(t).carts[family] {
			got += units
		}
		if got != want {
			c.violationf("%d units are in the cart, %d were added", got, want)
		}
		c.notef("%d units added to one cart, taken out and put back %d times", want, c.shoppers.told("/checkOutCart", 402))
		c.check()
	})
}

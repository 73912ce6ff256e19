package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// dice are for moments that no run should repeat.
func dice() *rand.Rand { return rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)) }

// shortLease are the flags of instances that others are to recover from within seconds.
func shortLease() []string { return []string{"--checkout-lease", "4s", "--payment-timeout", "2s"} }

func TestKill_atRandomUnderLoad(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"plenty": 1_000_000, "scarce": 500, "rare": 3})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		shop := c.start(shortLease()...)
		c.shoppers.visits(shop)
		c.shoppers.cancels = true
		wait := c.shoppers.shop(ctx, 32, "plenty", "plenty", "scarce", "rare", "missing")
		random := dice()
		for range shortOrLong(8, 200) {
			pause(ctx, time.Duration(random.Int64N(int64(400*time.Millisecond))))
			c.kill(shop)
			shop = c.start(shortLease()...)
			c.shoppers.visits(shop)
		}
		pause(ctx, 300*time.Millisecond)
		stop()
		wait()
		c.settle()
		c.recordMemory(shop)
		c.check()
	})
}

func TestKill_oneInstanceWhileOthersServe(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"plenty": 1_000_000, "scarce": 500, "rare": 3})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		shops := []*instance{c.start(shortLease()...), c.start(shortLease()...), c.start(shortLease()...)}
		c.shoppers.visits(shops...)
		c.shoppers.cancels = true
		wait := c.shoppers.shop(ctx, 32, "plenty", "plenty", "scarce", "rare", "missing")
		random := dice()
		var slowest time.Duration
		for n := range shortOrLong(6, 200) {
			pause(ctx, time.Duration(random.Int64N(int64(400*time.Millisecond))))
			victim := random.IntN(len(shops))
			c.kill(shops[victim])
			var bystanders []*instance
			for i, shop := range shops {
				if i != victim {
					bystanders = append(bystanders, shop)
				}
			}
			c.shoppers.visits(bystanders...)
			slowest = max(slowest, c.serves(ctx, fmt.Sprint("passer-by-", n), "plenty"))
			shops[victim] = c.start(shortLease()...)
			c.shoppers.visits(shops...)
		}
		pause(ctx, 300*time.Millisecond)
		stop()
		wait()
		c.settle()
		for _, shop := range shops {
			c.recordMemory(shop)
		}
		c.notef("a buyer beside each kill was served within %v", slowest.Round(time.Millisecond))
		c.check()
	})
}

// serves demands that a new client can buy a unit at the instances that are open, and returns how
// long that took.
func (c *chaos) serves(ctx context.Context, client, product string) time.Duration {
	c.t.Helper()
	const patience = 5 * time.Second // a lock wait of 2 s, twice
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, bound(patience))
	defer cancel()
	if got := c.shoppers.add(ctx, dice(), client, product, 1, "add"); got.Code != 200 {
		c.violationf("while others were killed, an add of %s was answered %v", client, got)
	}
	if got := c.shoppers.buy(ctx, dice(), client, "buy"); got.Code != 200 {
		c.violationf("while others were killed, a checkout of %s was answered %v", client, got)
	}
	return time.Since(began)
}

// begin starts that many checkouts of one lamp each, of clients of its own, and returns when all
// are in flight. wait waits for their answers.
func (c *chaos) begin(shop *instance, clients string, n int) (wait func()) {
	c.t.Helper()
	before := c.store.snapshot(c.t).open()
	c.shoppers.visits(shop)
	ctx, hangUp := context.WithCancel(context.Background())
	c.t.Cleanup(hangUp)
	var adds, buyers sync.WaitGroup
	for i := range n {
		adds.Go(func() {
			if got := c.shoppers.add(ctx, dice(), fmt.Sprint(clients, "-", i), "lamp", 1, ""); got.Code != 200 {
				c.t.Errorf("add of buyer %d: %v", i, got)
			}
		})
	}
	adds.Wait()
	for i := range n {
		buyers.Go(func() { c.shoppers.buy(ctx, dice(), fmt.Sprint(clients, "-", i), "") })
	}
	eventually(c.t, soon, "all checkouts are in flight", func() bool { return c.store.snapshot(c.t).open() == before+n })
	return buyers.Wait
}

func TestRecovery_embeddedSettlesAtStart(t *testing.T) {
	t.Parallel()
	c := newChaos(t, embeddedStore(t), map[string]int{"lamp": 1000})
	interceptor := startInterceptor(t, c.payments)
	interceptor.before(t, http.MethodPut)
	shop := c.start("--payment-url", interceptor.url, "--checkout-lease", "1h") // a start does not wait for leases
	wait := c.begin(shop, "buyer", shortOrLong(150, 1000))
	c.kill(shop)
	wait()

	again := c.start()
	c.shoppers.visits(again)
	c.settle()
	c.notef("settled %v after the start", time.Since(again.started).Round(10*time.Millisecond))
	interceptor.letGo() // the charges that were on their way when their owner died come to a payment service that was told to void them
	if got := c.shoppers.buy(t.Context(), dice(), "buyer-0", ""); got.Code != 200 {
		t.Errorf("a cart that was put back could not be bought: %v", got)
	}
	c.check()
}

func TestRecovery_otherInstanceSettlesAfterLease(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"lamp": 1000})
		interceptor := startInterceptor(t, c.payments)
		interceptor.before(t, http.MethodPut)
		victim := c.start(append(shortLease(), "--payment-url", interceptor.url)...)
		other := c.start(shortLease()...)
		wait := c.begin(victim, "buyer", shortOrLong(150, 1000))
		c.kill(victim)
		killed := time.Now()
		wait()

		c.shoppers.visits(other)
		c.settle()
		c.notef("settled %v after the kill", time.Since(killed).Round(10*time.Millisecond))
		interceptor.letGo()
		if got := c.shoppers.buy(t.Context(), dice(), "buyer-0", ""); got.Code != 200 {
			t.Errorf("a cart that was put back could not be bought: %v", got)
		}
		c.check()
	})
}

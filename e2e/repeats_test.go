package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestCheckout_concurrentRepeatsBuyOnce(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"lamp": 500})
		c.shoppers.visits(c.start())
		if got := c.shoppers.add(t.Context(), dice(), "ann", "lamp", 2, ""); got.Code != 200 {
			t.Fatalf("add: %v", got)
		}
		var buyers sync.WaitGroup
		for range 50 {
			buyers.Go(func() { c.shoppers.buy(t.Context(), dice(), "ann", "") })
		}
		buyers.Wait()
		if bought, refused := c.shoppers.told("/checkOutCart", 200), c.shoppers.told("/checkOutCart", 409); bought != 1 || refused != 49 {
			t.Errorf("%d were answered 200 and %d 409, want 1 and 49", bought, refused)
		}
		if totals := c.payments.Totals(); totals.Captures != 1 {
			t.Errorf("the payment service took money %d times, want 1", totals.Captures)
		}
		c.check()
	})
}

func TestIdempotencyKey_oneEffectOverInstances(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"lamp": 100})
		gateway := slow(t, c.payments, 300*time.Millisecond)
		one, two := c.start("--payment-url", gateway), c.start("--payment-url", gateway)
		c.shoppers.visits(one)
		// The shoppers know of one add and one checkout; all else are repeats.
		if got := c.shoppers.add(t.Context(), dice(), "ann", "lamp", 2, "add-1"); got.Code != 200 {
			t.Fatalf("add: %v", got)
		}
		bodies := map[string]int{}
		var mu sync.Mutex
		volley := func(n int, r request, instances ...*instance) {
			var callers sync.WaitGroup
			for i := range n {
				callers.Go(func() {
					c.requests.Add(1)
					got := instances[i%len(instances)].send(t.Context(), r)
					mu.Lock()
					defer mu.Unlock()
					bodies[fmt.Sprint(got.Code, got.Body)]++
				})
			}
			callers.Wait()
		}
		volley(25, addition("ann", "lamp", 2).withKey("add-1"), one, two)
		volley(25, purchase("ann").withKey("buy-1"), one, two)
		c.kill(one)
		one = c.start("--payment-url", gateway)
		volley(25, addition("ann", "lamp", 2).withKey("add-1"), one, two)
		volley(25, purchase("ann").withKey("buy-1"), one, two)
		if len(bodies) != 1 || bodies["200{\"status\":\"Success\",\"error\":\"\"}\n"] != 100 {
			t.Errorf("got the answers %v, want one answer 100 times", bodies)
		}
		for _, shop := range []*instance{one, two} {
			shop.want(t, 422, addition("ann", "lamp", 3).withKey("add-1"))
			shop.want(t, 422, addition("ann", "chair", 2).withKey("add-1"))
		}
		c.shoppers.visits(two)
		if got := c.shoppers.buy(t.Context(), dice(), "ann", "buy-1"); got.Code != 200 {
			t.Errorf("the last repeat got %v, want 200", got)
		}
		if units, captures := c.store.snapshot(t).accountedFor(), c.payments.Totals().Captures; units != 2 || captures != 1 {
			t.Errorf("%d units and %d captures, want 2 and 1", units, captures)
		}
		c.check()
	})
}

func TestIdempotencyKey_retryChargesOnce(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"lamp": 10_000})
		flags := append(shortLease(), "--payment-url", slow(t, c.payments, 50*time.Millisecond))
		shop := c.start(flags...)
		c.shoppers.visits(shop)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		// Each client insists on one purchase, with one key, through hang-ups and kills, until it
		// knows.
		const clients = 40
		var all sync.WaitGroup
		var mu sync.Mutex
		answers := map[int]int{}
		for n := range clients {
			all.Go(func() {
				random := dice()
				client := fmt.Sprint("client-", n)
				if got := c.shoppers.add(ctx, random, client, "lamp", 1, "add"); got.Code != 200 {
					t.Errorf("add: %v", got)
				}
				for range 2 { // hangs up in the middle
					short, hangUp := context.WithTimeout(ctx, time.Duration(random.IntN(100))*time.Millisecond)
					c.requests.Add(1)
					c.shoppers.pick(random).send(short, purchase(client).withKey("buy"))
					hangUp()
				}
				got := c.shoppers.buy(ctx, random, client, "buy")
				for got.Code == 503 && ctx.Err() == nil { // voided: nothing is charged, and the key is free
					pause(ctx, time.Second)
					got = c.shoppers.buy(ctx, random, client, "buy")
				}
				mu.Lock()
				defer mu.Unlock()
				answers[got.Code]++
			})
		}
		for range shortOrLong(2, 5) {
			pause(ctx, time.Duration(dice().Int64N(int64(300*time.Millisecond))))
			c.kill(shop)
			shop = c.start(flags...)
			c.shoppers.visits(shop)
		}
		all.Wait()
		c.settle()
		if sum := answers[200] + answers[402]; sum != clients {
			c.violationf("got the answers %v, want 200 or 402 in the end for each of %d clients", answers, clients)
		}
		if captures := c.payments.Totals().Captures; captures != answers[200] {
			c.violationf("the payment service took money %d times, and %d clients were told that they bought", captures, answers[200])
		}
		c.notef("%d clients insisted", clients)
		c.check()
	})
}

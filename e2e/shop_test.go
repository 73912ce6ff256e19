package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
)

func TestShop_conservesUnits(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"plenty": 100_000, "scarce": 150, "rare": 3})
		shop := c.start()
		c.shoppers.visits(shop)
		rounds := shortOrLong(5, 100)
		atOnce(200, func(n int) {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			for round := range rounds {
				client := fmt.Sprintf("client-%d-%d", n, round)
				declined := random.IntN(8) == 0
				if declined {
					client = "decline-" + client
				}
				for _, product := range []string{"plenty", []string{"plenty", "scarce", "rare", "missing"}[random.IntN(4)]} {
					if got := c.shoppers.add(t.Context(), random, client, product, 1+random.IntN(3), ""); got.Code != 200 && got.Code != 404 && got.Code != 409 {
						t.Errorf("add: %v", got)
					}
				}
				for range 2 { // the second finds an empty cart, or tries again what was declined or short
					got := c.shoppers.buy(t.Context(), random, client, "")
					if bad := got.Code != 200 && got.Code != 409 && (got.Code != 402 || !declined); bad || (declined && got.Code == 200) {
						t.Errorf("checkout of %s: %v", client, got)
					}
				}
			}
		})
		for _, code := range []int{200, 404, 409} {
			if c.shoppers.told("/addToCart", code) == 0 {
				t.Errorf("no add was answered %d: the test did not try it", code)
			}
		}
		for _, code := range []int{200, 402, 409} {
			if c.shoppers.told("/checkOutCart", code) == 0 {
				t.Errorf("no checkout was answered %d: the test did not try it", code)
			}
		}
		c.recordMemory(shop)
		if status := shop.stop(); status != 0 {
			t.Errorf("exit status %d after SIGTERM, want 0", status)
		}
		c.check()
	})
}

func TestAdd_doesNotWaitForPayments(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		g := startInterceptor(t, startPaymentService(t))
		shop := start(t, s, "--payment-url", g.url)
		s.stock(t, map[string]int{"lamp": 500})
		shop.want(t, 200, addition("slow", "lamp", 1))
		charge := g.before(t, http.MethodPut)
		paid := make(chan reply, 1)
		go func() { paid <- shop.send(t.Context(), purchase("slow")) }()
		charge.await(soon)
		shop.want(t, 200, addition("quick", "lamp", 1))
		shop.want(t, 200, addition("slow", "lamp", 1)) // the next cart of the same client
		charge.letGo()
		if got := <-paid; got.Code != 200 {
			t.Errorf("checkout: %v", got)
		}
		if got := s.snapshot(t).carts["slow"]["lamp"]; got != 1 {
			t.Errorf("added during the payment: %d in the cart, want 1", got)
		}
	})
}

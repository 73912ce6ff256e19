package e2e

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tally counts answers by code.
type tally struct {
	mu    sync.Mutex
	codes map[int]int // under mu
}

func (c *tally) count(r reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.codes == nil {
		c.codes = map[int]int{}
	}
	c.codes[r.Code]++
}

func TestTwoHundredClientsShopAtOnceAndTheBooksBalance(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		till := openTill(t)
		imported := map[string]int{"plenty": 100_000, "scarce": 150, "rare": 3}
		shop := start(t, s, "--payment-url", till.url)
		s.stock(t, imported)

		var adds, checkouts tally
		var added atomic.Int64 // units, by answers of Success
		var clients sync.WaitGroup
		for n := range 200 {
			clients.Go(func() {
				random := rand.New(rand.NewPCG(uint64(n), 1))
				for round := range 5 {
					client := fmt.Sprintf("client-%d-%d", n, round)
					declined := random.IntN(8) == 0
					if declined {
						client = "decline-" + client
					}
					for _, product := range []string{"plenty", []string{"plenty", "scarce", "rare", "missing"}[random.IntN(4)]} {
						quantity := 1 + random.IntN(3)
						got := shop.send(t.Context(), addition(client, product, quantity))
						adds.count(got)
						switch got.Code {
						case 200:
							added.Add(int64(quantity))
						case 404, 409:
						default:
							t.Errorf("add: %v", got)
						}
					}
					for range 2 { // the second finds an empty cart, or tries again what was declined or short
						got := shop.send(t.Context(), purchase(client))
						checkouts.count(got)
						if bad := got.Code != 200 && got.Code != 409 && (got.Code != 402 || !declined); bad || (declined && got.Code == 200) {
							t.Errorf("checkout of %s: %v", client, got)
						}
					}
				}
			})
		}
		clients.Wait()
		t.Logf("adds by code: %v, checkouts by code: %v", adds.codes, checkouts.codes)
		for _, code := range []int{200, 404, 409} {
			if adds.codes[code] == 0 {
				t.Errorf("no add was answered %d: the test did not try it", code)
			}
		}
		for _, code := range []int{200, 402, 409} {
			if checkouts.codes[code] == 0 {
				t.Errorf("no checkout was answered %d: the test did not try it", code)
			}
		}
		if status := shop.stop(); status != 0 {
			t.Errorf("exit status %d after SIGTERM, want 0", status)
		}
		b := s.books(t)
		b.balance(t, imported)
		b.agrees(t, till.Payments())
		if got := b.accountedFor(); got != added.Load() {
			t.Errorf("promise U: %d units are in carts and checkouts, %d were added", got, added.Load())
		}
		if out, errs, status := run(t, s, nil, "audit", "--gateway", "--payment-url", till.url); status != 0 {
			t.Errorf("audit: status %d: %s%s", status, out, errs)
		}
	})
}

func TestOneCartCheckedOutFiftyTimesAtOnceIsBoughtOnce(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		till := openTill(t)
		shop := start(t, s, "--payment-url", till.url)
		s.stock(t, map[string]int{"lamp": 500})
		shop.want(t, 200, addition("ann", "lamp", 2))
		var codes tally
		var buyers sync.WaitGroup
		for range 50 {
			buyers.Go(func() { codes.count(shop.send(t.Context(), purchase("ann"))) })
		}
		buyers.Wait()
		if codes.codes[200] != 1 || codes.codes[409] != 49 {
			t.Errorf("got %v, want one 200 and 49 of 409", codes.codes)
		}
		if totals := till.Totals(); totals.Captures != 1 {
			t.Errorf("the till took money %d times, want 1", totals.Captures)
		}
		s.books(t).balance(t, map[string]int{"lamp": 500})
	})
}

func TestAnAddDoesNotWaitBehindAnotherClientsPayment(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		shop := start(t, s, "--payment-url", "sandbox:?latency=3s")
		s.stock(t, map[string]int{"lamp": 500})
		shop.want(t, 200, addition("slow", "lamp", 1))
		paid := make(chan reply, 1)
		go func() { paid <- shop.send(t.Context(), purchase("slow")) }()
		eventually(t, 2*time.Second, "the payment is under way", func() bool { return s.books(t).held["lamp"] == 1 })
		started := time.Now()
		shop.want(t, 200, addition("quick", "lamp", 1))
		shop.want(t, 200, addition("slow", "lamp", 1)) // the next cart of the same client
		if took := time.Since(started); took > time.Second {
			t.Errorf("two adds took %v while a payment was under way", took)
		}
		if got := <-paid; got.Code != 200 {
			t.Errorf("checkout: %v", got)
		}
		if got := s.books(t).carts["slow"]["lamp"]; got != 1 {
			t.Errorf("added during the payment: %d in the cart, want 1", got)
		}
	})
}

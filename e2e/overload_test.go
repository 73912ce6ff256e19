package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// The shop has room for 3 × 48 requests: in the queue of adds, in that of checkouts, and among the
// checkouts in flight. Five times as many clients, who come back at once when they are refused,
// find it full all the time.
func TestOverload_refusesQuickly(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		const room, clients = 48, 5 * 3 * 48
		c := newChaos(t, s, map[string]int{"plenty": 10_000_000, "scarce": 5000})
		shop := c.start("--queue-capacity", itoa(room), "--checkouts-in-flight", itoa(room), "--batch-size", "16")
		c.shoppers.visits(shop)
		ctx, stop := context.WithTimeout(t.Context(), shortOrLong(4*time.Second, time.Minute))
		defer stop()
		began := time.Now()
		wait := c.shoppers.rush(ctx, "rush", clients, "plenty", "plenty", "scarce")
		pause(ctx, time.Until(began.Add(shortOrLong(2*time.Second, 15*time.Second))))
		early := shop.peakMemory()
		wait()
		took := time.Since(began)
		late := shop.peakMemory()
		c.settle()
		c.recordMemory(shop)
		c.sellsAgain("plenty")
		c.check()

		refusals, done := c.shoppers.refusals()
		if len(refusals) == 0 {
			t.Fatal("no client was refused: the test did not try it")
		}
		p99 := refusals[len(refusals)*99/100]
		c.notef("%d clients, %.0f done a second, %.0f refused a second, refusals' p50 %v, p99 %v", clients, float64(done)/took.Seconds(),
			float64(len(refusals))/took.Seconds(), refusals[len(refusals)/2].Round(time.Millisecond), p99.Round(time.Millisecond))
		// The clients themselves keep the machine busy; a refusal that had to wait for what it is
		// refused would take longer still.
		if p99 > bound(2*time.Second) {
			t.Errorf("one refusal in a hundred took %v or more", p99)
		}
		if grown := late - early; grown > 32<<20 {
			t.Errorf("the longer it lasts the more memory it takes: %d MiB, then %d MiB", early>>20, late>>20)
		}
		if late > 256<<20 {
			t.Errorf("it took %d MiB", late>>20)
		}
	})
}

// rush is shop for clients of other names who take no time between their requests, and do not come
// back to a cart. None of them uses a key.
func (c *shoppers) rush(ctx context.Context, name string, clients int, products ...string) (wait func()) {
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 11))
			for round := 0; ctx.Err() == nil; round++ {
				client := fmt.Sprintf("%s-%d-%d", name, n, round)
				if c.add(ctx, random, client, products[random.IntN(len(products))], 1+random.IntN(3), "").Code == 200 {
					c.buy(ctx, random, client, "")
				}
			}
		})
	}
	return all.Wait
}

// refusals are how long refusals took, the quickest first, and how many requests were answered
// Success.
func (c *shoppers) refusals() (took []time.Duration, done int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	took = slices.Clone(c.refused)
	slices.Sort(took)
	return took, c.codes["/addToCart 200"] + c.codes["/checkOutCart 200"]
}

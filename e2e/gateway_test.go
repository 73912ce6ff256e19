package e2e

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"cartwheel/checkout"
)

func TestGateway_misbehaviourKeepsGuarantees(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"plenty": 1_000_000, "scarce": 2000, "rare": 3})
		gateway := c.startUnreliableGateway(uint64(time.Now().UnixNano()), 900*time.Millisecond)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		shop := c.start("--payment-url", gateway.url, "--payment-timeout", "500ms", "--checkout-lease", "2500ms", "--request-timeout", "3s")
		c.shoppers.visits(shop)
		c.shoppers.cancels = true
		wait := c.shoppers.shop(ctx, 32, "plenty", "plenty", "scarce", "rare", "missing")
		for range shortOrLong(1, 20) {
			gateway.behave(unreliableGateway)
			pause(ctx, shortOrLong(3*time.Second, 8*time.Second))
			gateway.behave(dead)
			pause(ctx, 500*time.Millisecond)
		}
		gateway.behave(unreliableGateway)
		pause(ctx, time.Second)
		stop()
		wait()
		gateway.behave(well)
		c.settle()
		c.sellsAgain("plenty")
		gateway.after.Wait() // what came late has come
		c.recordMemory(shop)
		c.notef("%s", gateway.tried(t))
		c.check()
		b, outcomes := s.snapshot(t), map[checkout.State]int{}
		for _, e := range b.checkouts {
			outcomes[e.State]++
		}
		if outcomes[checkout.Committed] == 0 || outcomes[checkout.RolledBack] == 0 {
			t.Errorf("the checkouts ended as %v: the test did not try both ends", outcomes)
		}
	})
}

// sellsAgain waits until the shop sells again: a circuit breaker takes its time.
func (c *chaos) sellsAgain(product string) {
	c.t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	if got := c.shoppers.add(c.t.Context(), random, "afterwards", product, 1, ""); got.Code != 200 {
		c.violationf("an add after all is well again: %v", got)
	}
	eventually(c.t, soon, "a checkout is sold again", func() bool {
		return c.shoppers.buy(c.t.Context(), random, "afterwards", "").Code == 200
	})
}

package e2e

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

func TestKillsAtRandomMomentsUnderMixedLoadBreakNoPromise(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newCampaign(t, s, map[string]int{"plenty": 1_000_000, "scarce": 500, "rare": 3})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		flags := []string{"--checkout-lease", "4s", "--payment-timeout", "2s"}
		shop := c.start(flags...)
		c.crowd.visits(shop)
		wait := c.crowd.shop(ctx, 32, "plenty", "plenty", "scarce", "rare", "missing")
		random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
		for range campaignLength(8, 100) {
			pause(ctx, time.Duration(random.Int64N(int64(400*time.Millisecond))))
			c.kill(shop)
			shop = c.start(flags...)
			c.crowd.visits(shop)
		}
		pause(ctx, 300*time.Millisecond)
		stop()
		wait()
		c.settle(8 * time.Second)
		c.weigh(shop)
		c.check()
	})
}

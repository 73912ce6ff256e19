package e2e

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"cartwheel/checkout"
)

// An absence is an instance that is stopped past its lease with a checkout under way, while another one recovers.
type absence struct {
	*campaign
	gate   *gate // before the till of the one that is stopped
	paused *instance
	answer chan reply
}

// beginAbsence starts both instances, and a checkout of one lamp that the gate stops as prepare says.
func beginAbsence(t *testing.T, s store, prepare func(*gate)) *absence {
	t.Helper()
	a := &absence{campaign: newCampaign(t, s, map[string]int{"lamp": 10}), answer: make(chan reply, 1)}
	a.gate = openGate(t, a.till)
	prepare(a.gate)
	times := []string{"--payment-timeout", "4s", "--checkout-lease", "6s"}
	a.paused = a.start(append(times, "--payment-url", a.gate.url)...)
	a.start(times...)
	a.crowd.visits(a.paused)
	if got := a.crowd.add(t.Context(), dice(), "ann", "lamp", 1, ""); got.Code != 200 {
		t.Fatalf("add: %v", got)
	}
	go func() { a.answer <- a.crowd.buy(context.Background(), dice(), "ann", "") }()
	return a
}

// pass stops the instance until the other one has settled the checkout, lets it go on, and holds what it does against that.
func (a *absence) pass(want int) {
	a.t.Helper()
	a.paused.signal(syscall.SIGSTOP)
	a.settle(9 * time.Second)
	settled := a.store.books(a.t).checkouts[0]
	if settled.Epoch != 2 {
		a.t.Errorf("it was settled under epoch %d, want the other instance's: 2", settled.Epoch)
	}
	a.paused.signal(syscall.SIGCONT)
	a.gate.goOn()
	if got := <-a.answer; got.Code != want {
		a.t.Errorf("the caller got %v, want what the journal says: %d", got, want)
	}
	// It drains: after this it does nothing more.
	if status := a.paused.stop(); status != 0 {
		a.t.Errorf("exit status %d, want 0", status)
	}
	if got := a.store.books(a.t).checkouts[0]; got.State != settled.State || !got.UpdatedAt.Equal(settled.UpdatedAt) {
		a.t.Errorf("the journal changed after the end: from %v to %v", settled, got)
	}
	a.notef("1 instance stopped past its lease")
	a.check()
}

func TestAnInstanceThatWasStoppedPastItsLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		var charge *stop
		a := beginAbsence(t, s, func(g *gate) { charge = g.after(t, http.MethodPut) })
		charge.await(soon) // the money is taken, and the answer comes too late
		a.pass(200)        // the other instance asks, learns that it is, and commits
	})
}

func TestAnInstanceThatWasStoppedBeforeItsRefundRefundsNothingTwice(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		var charge, refund *stop
		a := beginAbsence(t, s, func(g *gate) {
			charge = g.before(t, http.MethodPut)
			refund = g.before(t, http.MethodPost)
		})
		charge.await(soon)
		a.store.hand(t).exec("UPDATE product_details SET quantity = 0 WHERE product_id = 'lamp'")
		a.stocked["lamp"] = 0
		charge.goOn()
		refund.await(soon)
		if e := a.store.books(t).checkouts[0]; e.State != checkout.Refunding {
			t.Fatalf("the checkout is %s, want refunding", e.State)
		}
		a.pass(402)
		if totals := a.till.Totals(); totals.Captures != 1 || totals.Refunded != 1 {
			t.Errorf("the till took money %d times and gave it back for %d checkouts, want once each", totals.Captures, totals.Refunded)
		}
	})
}

// told is how often the crowd got an answer.
func (c *crowd) told(path string, code int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.codes[fmt.Sprint(path, " ", code)]
}

func TestSIGTERMUnderLoadLosesNothingThatWasAnswered(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newCampaign(t, s, map[string]int{"lamp": 100_000, "rare": 3})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		gateway := slow(t, c.till, 200*time.Millisecond)
		shop := c.start("--payment-url", gateway)
		c.crowd.visits(shop)
		wait := c.crowd.shop(ctx, 64, "lamp", "lamp", "lamp", "rare")
		for round := range campaignLength(2, 50) {
			eventually(t, 20*time.Second, "the shop is busy", func() bool { return c.crowd.told("/checkOutCart", 200) > 100*(round+1) })
			shop.signal(syscall.SIGTERM)
			if status := shop.exit(30 * time.Second); status != 0 {
				c.breachf("exit status %d after SIGTERM, want 0", status)
			}
			if n := s.books(t).open(); n != 0 {
				c.breachf("%d checkouts are in flight after a clean exit that had the time", n)
			}
			shop = c.start("--payment-url", gateway)
			c.crowd.visits(shop)
		}
		stop()
		wait()
		c.settle(8 * time.Second)
		c.weigh(shop)
		c.notef("%d clean exits", campaignLength(2, 50))
		c.check()
	})
}

func TestADrainThatRunsOutOfTimeAnswersPendingAndTheNextRunRecovers(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newCampaign(t, s, map[string]int{"lamp": 10})
		gate := openGate(t, c.till)
		charge := gate.before(t, http.MethodPut)
		shop := c.start("--payment-url", gate.url, "--drain-timeout", "500ms")
		c.crowd.visits(shop)
		if got := c.crowd.add(t.Context(), dice(), "ann", "lamp", 1, ""); got.Code != 200 {
			t.Fatalf("add: %v", got)
		}
		answer := make(chan reply, 1)
		go func() { answer <- shop.send(context.Background(), purchase("ann").withKey("k")) }()
		charge.await(soon)
		if status := shop.stop(); status != 0 {
			t.Errorf("exit status %d, want 0", status)
		}
		pending := <-answer
		if pending.Code != 202 || pending.Status != "Pending" {
			t.Errorf("the caller got %v, want 202", pending)
		}
		again := c.start()
		c.crowd.visits(again)
		c.settle(2 * time.Second)
		if got := c.crowd.buy(t.Context(), dice(), "ann", "k"); got.Code != 402 {
			t.Errorf("the repeat got %v, want the end: 402", got)
		}
		gate.goOn()
		c.check()
	})
}

func TestASecondSIGTERMEndsAtOnceAndIsRecoveredFrom(t *testing.T) {
	t.Parallel()
	c := newCampaign(t, embeddedStore(t), map[string]int{"lamp": 10})
	gate := openGate(t, c.till)
	gate.before(t, http.MethodPut)
	shop := c.start("--payment-url", gate.url)
	wait := c.begin(shop, "buyer", 5)
	shop.signal(syscall.SIGTERM)
	eventually(t, 5*time.Second, "it is draining", func() bool {
		return shop.log.attribute("shutting down: finishing what is under way", "level") != ""
	})
	shop.signal(syscall.SIGTERM)
	if status := shop.exit(2 * time.Second); status == 0 {
		t.Error("exit status 0, want that of a process ended by a signal")
	}
	wait()
	c.start()
	c.settle(2 * time.Second)
	gate.goOn()
	c.check()
}

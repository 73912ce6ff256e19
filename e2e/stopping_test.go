package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"cartwheel/checkout"
)

// An absence is an instance that is stopped past its lease with a checkout under way, while another
// one recovers.
type absence struct {
	*chaos
	interceptor *interceptor // before the payment service of the one that is stopped
	paused      *instance
	answer      chan reply
}

// beginAbsence starts both instances, and a checkout of one lamp that the interceptor stops as
// prepare says.
func beginAbsence(t *testing.T, s store, prepare func(*interceptor)) *absence {
	t.Helper()
	a := &absence{chaos: newChaos(t, s, map[string]int{"lamp": 10}), answer: make(chan reply, 1)}
	a.interceptor = startInterceptor(t, a.payments)
	prepare(a.interceptor)
	times := []string{"--payment-timeout", "4s", "--checkout-lease", "6s"}
	a.paused = a.start(append(times, "--payment-url", a.interceptor.url)...)
	a.start(times...)
	a.shoppers.visits(a.paused)
	if got := a.shoppers.add(t.Context(), dice(), "ann", "lamp", 1, ""); got.Code != 200 {
		t.Fatalf("add: %v", got)
	}
	go func() { a.answer <- a.shoppers.buy(context.Background(), dice(), "ann", "") }()
	return a
}

// pass stops the instance until the other one has settled the checkout, lets it go on, and holds
// what it does against that.
func (a *absence) pass(want int) {
	a.t.Helper()
	a.paused.signal(syscall.SIGSTOP)
	a.settle()
	settled := a.store.snapshot(a.t).checkouts[0]
	if settled.Epoch != 2 {
		a.t.Errorf("it was settled under epoch %d, want the other instance's: 2", settled.Epoch)
	}
	a.paused.signal(syscall.SIGCONT)
	a.interceptor.letGo()
	if got := <-a.answer; got.Code != want {
		a.t.Errorf("the caller got %v, want what the journal says: %d", got, want)
	}
	// It drains: after this it does nothing more.
	if status := a.paused.stop(); status != 0 {
		a.t.Errorf("exit status %d, want 0", status)
	}
	if got := a.store.snapshot(a.t).checkouts[0]; got.State != settled.State || !got.UpdatedAt.Equal(settled.UpdatedAt) {
		a.t.Errorf("the journal changed after the end: from %v to %v", settled, got)
	}
	a.notef("1 instance stopped past its lease")
	a.check()
}

func TestLease_pausedInstanceChangesNothing(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		var charge *stop
		a := beginAbsence(t, s, func(g *interceptor) { charge = g.after(t, http.MethodPut) })
		charge.await(soon) // the money is taken, and the answer comes too late
		a.pass(200)        // the other instance asks, learns that it is, and commits
	})
}

func TestLease_pausedInstanceRefundsOnce(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		var charge, refund *stop
		a := beginAbsence(t, s, func(g *interceptor) {
			charge = g.before(t, http.MethodPut)
			refund = g.before(t, http.MethodPost)
		})
		charge.await(soon)
		a.store.manualSQL(t).exec("UPDATE product_details SET quantity = 0 WHERE product_id = 'lamp'")
		a.stocked["lamp"] = 0
		charge.letGo()
		refund.await(soon)
		if e := a.store.snapshot(t).checkouts[0]; e.State != checkout.Refunding {
			t.Fatalf("the checkout is %s, want refunding", e.State)
		}
		a.pass(409)
		if totals := a.payments.Totals(); totals.Captures != 1 || totals.Refunded != 1 {
			t.Errorf("the payment service took money %d times and gave it back for %d checkouts, want once each", totals.Captures, totals.Refunded)
		}
	})
}

// told is how often the shoppers got an answer.
func (c *shoppers) told(path string, code int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.codes[fmt.Sprint(path, " ", code)]
}

func TestShutdown_underLoadLosesNothing(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"lamp": 100_000, "rare": 3})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		gateway := slow(t, c.payments, 200*time.Millisecond)
		shop := c.start("--payment-url", gateway)
		c.shoppers.visits(shop)
		c.shoppers.cancels = true
		wait := c.shoppers.shop(ctx, 64, "lamp", "lamp", "lamp", "rare")
		for round := range shortOrLong(2, 50) {
			eventually(t, soon, "the shop is busy", func() bool { return c.shoppers.told("/checkOutCart", 200) > 100*(round+1) })
			shop.signal(syscall.SIGTERM)
			if status := shop.exit(30 * time.Second); status != 0 {
				c.violationf("exit status %d after SIGTERM, want 0", status)
			}
			if n := s.snapshot(t).open(); n != 0 {
				c.violationf("%d checkouts are in flight after a clean exit that had the time", n)
			}
			shop = c.start("--payment-url", gateway)
			c.shoppers.visits(shop)
		}
		stop()
		wait()
		c.settle()
		c.recordMemory(shop)
		c.notef("%d clean exits", shortOrLong(2, 50))
		c.check()
	})
}

// A load balancer opens connections until it has seen twice that the instance is not ready.
func TestShutdown_servesUntilLoadBalancersKnow(t *testing.T) {
	t.Parallel()
	shop := newChaos(t, embeddedStore(t), map[string]int{"lamp": 10}).start()
	eventually(t, soon, "it is ready", shop.isReady)
	shop.signal(syscall.SIGTERM)
	eventually(t, soon, "it is not ready", func() bool { return !shop.isReady() })
	unused := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	body := strings.NewReader(`{"clientID": "ann", "productID": "lamp", "quantity": 1}`)
	response, err := unused.Post(shop.base+"/addToCart", "application/json", body)
	if err != nil {
		t.Fatalf("a new connection is not served: %v", err)
	}
	if _ = response.Body.Close(); response.StatusCode != http.StatusOK {
		t.Errorf("an add was answered %d, want 200", response.StatusCode)
	}
	if status := shop.exit(30 * time.Second); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
}

func TestShutdown_drainTimeoutAnswersPending(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"lamp": 10})
		interceptor := startInterceptor(t, c.payments)
		charge := interceptor.before(t, http.MethodPut)
		shop := c.start("--payment-url", interceptor.url, "--drain-timeout", "500ms", "--checkout-lease", "1h") // a stop ends it
		c.shoppers.visits(shop)
		if got := c.shoppers.add(t.Context(), dice(), "ann", "lamp", 1, ""); got.Code != 200 {
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
		c.shoppers.visits(again)
		c.settle()
		if got := c.shoppers.buy(t.Context(), dice(), "ann", "k"); got.Code != 200 {
			t.Errorf("the repeat got %v, want 200: the void freed the key", got)
		}
		interceptor.letGo()
		c.check()
	})
}

func TestShutdown_secondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	c := newChaos(t, embeddedStore(t), map[string]int{"lamp": 10})
	interceptor := startInterceptor(t, c.payments)
	interceptor.before(t, http.MethodPut)
	shop := c.start("--payment-url", interceptor.url, "--checkout-lease", "1h") // the next start does not wait for it
	wait := c.begin(shop, "buyer", 5)
	shop.signal(syscall.SIGTERM)
	eventually(t, soon, "it is draining", func() bool {
		return shop.log.attribute("shutting down: draining", "level") != ""
	})
	// A repeat within a second of the first is ignored: service managers send both SIGTERM and
	// SIGHUP.
	eventually(t, soon, "a later signal ends the process", func() bool {
		_ = shop.command.Process.Signal(syscall.SIGTERM) // the process may have ended
		select {
		case <-shop.ended:
			return true
		default:
			return false
		}
	})
	if status := shop.command.ProcessState.ExitCode(); status == 0 {
		t.Error("exit status 0, want that of a process ended by a signal")
	}
	wait()
	c.start()
	c.settle()
	interceptor.letGo()
	c.check()
}

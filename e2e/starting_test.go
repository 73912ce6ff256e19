package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"cartwheel/checkout"
)

// launchTogether starts five instances at once and returns when all listen.
func launchTogether(t *testing.T, s store, flags ...string) []*instance {
	t.Helper()
	var instances []*instance
	for range 5 {
		instances = append(instances, launch(t, s, flags...))
	}
	for _, i := range instances {
		i.await()
	}
	return instances
}

func TestStart_fiveInstancesOnEmptyDatabase(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		instances := launchTogether(t, s)
		s.stock(t, map[string]int{"lamp": 5})
		for n, i := range instances {
			client := fmt.Sprint("client-", n)
			i.want(t, 200, addition(client, "lamp", 1))
			i.want(t, 200, purchase(client))
		}
		s.snapshot(t).balance(t, map[string]int{"lamp": 5})
	})
}

func TestStart_fiveInstancesRecoverOnce(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"lamp": 10_000})
		const lease = 5 * time.Second
		times := []string{"--payment-timeout", "3s", "--checkout-lease", lease.String()}
		unpaid, paid, again := startInterceptor(t, c.payments), startInterceptor(t, c.payments), startInterceptor(t, c.payments)
		unpaid.before(t, http.MethodPut)
		charged := paid.after(t, http.MethodPut)
		victims := []*instance{c.start(append(times, "--payment-url", unpaid.url)...), c.start(append(times, "--payment-url", paid.url)...)}
		each := shortOrLong(100, 500)
		waits := []func(){c.begin(victims[0], "unpaid", each), c.begin(victims[1], "paid", each)}
		for range each {
			charged.await(soon)
		}
		c.kill(victims[0])
		c.kill(victims[1])
		killed := time.Now()
		for _, wait := range waits {
			wait()
		}
		pause(t.Context(), lease-time.Since(killed))
		if open := c.store.snapshot(t).open(); open != 2*each {
			t.Fatalf("%d checkouts are open, want all %d", open, 2*each)
		}
		five := launchTogether(t, c.store, append(times, "--payment-url", again.url)...)
		c.shoppers.visits(five...)
		c.settle()
		for _, e := range c.store.snapshot(t).checkouts {
			want := checkout.RolledBack
			if strings.HasPrefix(e.ClientID, "paid-") {
				want = checkout.Committed
			}
			if e.State != want {
				c.violationf("checkout %s of %s ended %s, want %s", e.CheckoutID, e.ClientID, e.State, want)
			}
			if e.Epoch != 2 {
				c.violationf("checkout %s was claimed %d times, want once", e.CheckoutID, e.Epoch-1)
			}
			if voids := again.count(http.MethodDelete, e.CheckoutID); voids != 1 {
				c.violationf("the void of checkout %s was asked for %d times, want once", e.CheckoutID, voids)
			}
		}
		if totals := c.payments.Totals(); totals.Captures != each || totals.Voided != each {
			c.violationf("the payment service took money %d times and voided %d payments, want %d each", totals.Captures, totals.Voided, each)
		}
		c.notef("%d open checkouts found by 5 instances at once", 2*each)
		unpaid.letGo()
		c.check()
	})
}

func TestStart_refusesUsedDataDirectory(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	start(t, s)
	second := launch(t, s)
	if status := second.exit(10 * time.Second); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if log := second.log.String(); !containsAll(log, "data directory", "in use by another server") {
		t.Errorf("it says: %s", log)
	}
}

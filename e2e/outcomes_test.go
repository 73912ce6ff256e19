package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// failings are how a payment service fails to say what it did.
var failings = map[string]http.HandlerFunc{
	"hangs":           func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	"cuts":            func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"fails":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
	"talks-nonsense":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("OK")) },
	"answers-another": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"status":"voided"}`)) },
}

// failingService is a payment service that charges, or does not, and then fails in the way that the
// client's ID begins with.
func failingService(t *testing.T, payments http.Handler, charges bool) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if r.Method != http.MethodPut {
			payments.ServeHTTP(w, r)
			return
		}
		if charges {
			payments.ServeHTTP(httptest.NewRecorder(), r)
		}
		var order struct{ ClientID string }
		if json.Unmarshal(body, &order) != nil {
			return
		}
		for failing, handle := range failings {
			if strings.HasPrefix(order.ClientID, failing) {
				handle(w, r)
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// buyAtFailingService lets clients buy for each of the failings, all at once, and wants the same
// answer for all.
func buyAtFailingService(t *testing.T, s store, charges bool, want int) *chaos {
	t.Helper()
	c := newChaos(t, s, map[string]int{"lamp": 100})
	c.shoppers.visits(c.start("--payment-url", failingService(t, c.payments, charges), "--payment-timeout", "500ms", "--checkout-lease", "5s"))
	var clients []string
	for failing := range failings {
		clients = append(clients, failing+"-1")
	}
	atOnce(len(clients), func(n int) {
		if got := c.shoppers.add(t.Context(), dice(), clients[n], "lamp", 1, ""); got.Code != 200 {
			t.Errorf("add: %v", got)
		}
		began := time.Now()
		if got := c.shoppers.buy(t.Context(), dice(), clients[n], "key"); got.Code != want {
			c.violationf("the payment service %s: %v, want %d", clients[n], got, want)
		}
		c.recovered(time.Since(began))
	})
	return c
}

func TestGateway_chargedThenFailedIsSold(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := buyAtFailingService(t, s, true, 200)
		if captures, sold := c.payments.Totals().Captures, s.snapshot(t).sold()["lamp"]; captures != len(failings) || sold != int64(len(failings)) {
			c.violationf("the payment service took money %d times and %d lamps are sold, want %d each", captures, sold, len(failings))
		}
		c.check()
	})
}

func TestGateway_failedWithoutChargeIsRestored(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := buyAtFailingService(t, s, false, 503)
		if captures, sold := c.payments.Totals().Captures, s.snapshot(t).sold()["lamp"]; captures != 0 || sold != 0 {
			c.violationf("the payment service took money %d times and %d lamps are sold, want none", captures, sold)
		}
		c.check()
	})
}

func TestReservation_alwaysEnds(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		const lamps = 20
		const lease = 3 * time.Second
		c := newChaos(t, s, map[string]int{"lamp": lamps})
		before, after := startInterceptor(t, c.payments), startInterceptor(t, c.payments)
		charge := before.before(t, http.MethodPut)
		before.before(t, http.MethodDelete)
		void := after.before(t, http.MethodDelete)
		times := []string{"--payment-timeout", "1s", "--checkout-lease", lease.String(), "--request-timeout", "3s"}
		shop := c.start(append(times, "--payment-url", before.url)...)
		c.shoppers.visits(shop)
		// What is forgotten in a cart holds nothing.
		if got := c.shoppers.add(t.Context(), dice(), "forgetful", "lamp", lamps, ""); got.Code != 200 {
			t.Fatalf("add: %v", got)
		}
		wait := c.begin(shop, "buyer", lamps)
		charge.await(soon)
		c.kill(shop)
		wait()
		shop = c.start(append(times, "--payment-url", after.url)...)
		c.shoppers.visits(shop)
		// No client knows yet what became of the payments: the one who recovers asks, and the stock
		// stays held through leases.
		eventually(t, 3*lease, "a checkout was claimed twice", func() bool {
			for _, e := range s.snapshot(t).checkouts {
				if e.Epoch > 2 {
					return true
				}
			}
			return false
		})
		if b := s.snapshot(t); b.open() != lamps || b.held["lamp"] != lamps {
			c.violationf("%d checkouts hold %d lamps while no outcome is known, want %d", b.open(), b.held["lamp"], lamps)
		}
		if got := c.shoppers.buy(t.Context(), dice(), "forgetful", ""); got.Code != 409 && got.Code != 503 {
			c.violationf("what is held was sold to another: %v", got)
		}
		void.letGo()
		c.settle()
		if got := c.shoppers.buy(t.Context(), dice(), "forgetful", ""); got.Code != 200 {
			c.violationf("what was held is not for sale again: %v", got)
		}
		before.letGo() // the charges, in the end
		c.check()
	})
}

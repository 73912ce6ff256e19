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

// failingTill is a till that charges, or does not, and then fails in the way that the client's ID begins with.
func failingTill(t *testing.T, till http.Handler, charges bool) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if r.Method != http.MethodPut {
			till.ServeHTTP(w, r)
			return
		}
		if charges {
			till.ServeHTTP(httptest.NewRecorder(), r)
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

// buyAtAFailingTill lets clients buy for each of the failings, all at once, and wants the same answer for all.
func buyAtAFailingTill(t *testing.T, s store, charges bool, want int) *campaign {
	t.Helper()
	c := newCampaign(t, s, map[string]int{"lamp": 100})
	c.crowd.visits(c.start("--payment-url", failingTill(t, c.till, charges), "--payment-timeout", "500ms", "--checkout-lease", "5s"))
	var clients []string
	for failing := range failings {
		clients = append(clients, failing+"-1")
	}
	atOnce(len(clients), func(n int) {
		if got := c.crowd.add(t.Context(), dice(), clients[n], "lamp", 1, ""); got.Code != 200 {
			t.Errorf("add: %v", got)
		}
		began := time.Now()
		if got := c.crowd.buy(t.Context(), dice(), clients[n], "key"); got.Code != want {
			c.breachf("the till %s: %v, want %d", clients[n], got, want)
		}
		c.recovered(time.Since(began))
	})
	return c
}

func TestAChargeWithoutAnOrder(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := buyAtAFailingTill(t, s, true, 200)
		if captures, sold := c.till.Totals().Captures, s.books(t).sold()["lamp"]; captures != len(failings) || sold != int64(len(failings)) {
			c.breachf("the till took money %d times and %d lamps are sold, want %d each", captures, sold, len(failings))
		}
		c.check()
	})
}

func TestAnOrderWithoutACharge(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := buyAtAFailingTill(t, s, false, 402)
		if captures, sold := c.till.Totals().Captures, s.books(t).sold()["lamp"]; captures != 0 || sold != 0 {
			c.breachf("the till took money %d times and %d lamps are sold, want none", captures, sold)
		}
		c.check()
	})
}

func TestAHoldThatNeverEnds(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		const lamps = 20
		const lease = 3 * time.Second
		c := newCampaign(t, s, map[string]int{"lamp": lamps})
		before, after := openGate(t, c.till), openGate(t, c.till)
		charge := before.before(t, http.MethodPut)
		before.before(t, http.MethodDelete)
		void := after.before(t, http.MethodDelete)
		times := []string{"--payment-timeout", "1s", "--checkout-lease", lease.String(), "--request-timeout", "3s"}
		shop := c.start(append(times, "--payment-url", before.url)...)
		c.crowd.visits(shop)
		// What is forgotten in a cart holds nothing.
		if got := c.crowd.add(t.Context(), dice(), "forgetful", "lamp", lamps, ""); got.Code != 200 {
			t.Fatalf("add: %v", got)
		}
		wait := c.begin(shop, "buyer", lamps)
		charge.await(soon)
		c.kill(shop)
		wait()
		shop = c.start(append(times, "--payment-url", after.url)...)
		c.crowd.visits(shop)
		// Nobody knows yet what became of the payments: whoever recovers asks, and the stock stays held through leases.
		eventually(t, 3*lease, "a checkout was claimed twice", func() bool {
			for _, e := range s.books(t).checkouts {
				if e.Epoch > 2 {
					return true
				}
			}
			return false
		})
		if b := s.books(t); b.open() != lamps || b.held["lamp"] != lamps {
			c.breachf("%d checkouts hold %d lamps while no outcome is known, want %d", b.open(), b.held["lamp"], lamps)
		}
		if got := c.crowd.buy(t.Context(), dice(), "forgetful", ""); got.Code != 409 && got.Code != 503 {
			c.breachf("what is held was sold to another: %v", got)
		}
		void.goOn()
		c.settle(lease + soon)
		if got := c.crowd.buy(t.Context(), dice(), "forgetful", ""); got.Code != 200 {
			c.breachf("what was held is not for sale again: %v", got)
		}
		before.goOn() // the charges, at last
		c.check()
	})
}

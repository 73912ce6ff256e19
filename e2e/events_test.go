package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"cartwheel/checkout"
	"cartwheel/database"
)

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// A webhook is a shop's endpoint. It checks each signature with the library of Standard Webhooks.
type webhook struct {
	t      *testing.T
	url    string
	verify *standardwebhooks.Webhook

	mu     sync.Mutex
	down   bool           // under mu
	events map[string]int // deliveries by ID; under mu
}

func startWebhook(t *testing.T) *webhook {
	t.Helper()
	verify, err := standardwebhooks.NewWebhook(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	w := &webhook{t: t, verify: verify, events: map[string]int{}}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.url = server.URL + "/events"
	return w
}

// ServeHTTP takes an event.
func (w *webhook) ServeHTTP(answer http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = w.verify.Verify(body, r.Header)
	}
	var event struct {
		Type string
		Data struct{ CheckoutID string }
	}
	if err == nil {
		err = json.Unmarshal(body, &event)
	}
	id := r.Header.Get("webhook-id")
	if err == nil && id != event.Data.CheckoutID+"."+strings.TrimPrefix(event.Type, "checkout.") {
		err = fmt.Errorf("the event %s says %s", id, body)
	}
	if err != nil {
		w.t.Errorf("an event could not be verified: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		answer.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.events[id]++
}

func (w *webhook) isDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// delivered returns the events that came, and how many came more than once.
func (w *webhook) delivered() (ids map[string]bool, repeated int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids = map[string]bool{}
	for id, n := range w.events {
		ids[id] = true
		if n > 1 {
			repeated++
		}
	}
	return ids, repeated
}

// Medusa issue 6016: a process that ended while it handled an event lost the event. Vendure issue
// 4416: an event came before the database had the sale.
func TestEvents_killsLoseNoEventAndMakeNone(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"plenty": 1_000_000, "scarce": 30})
		hook := startWebhook(t)
		flags := append([]string{"--webhook-url", hook.url, "--webhook-secret", webhookSecret}, shortTimeouts...)
		shop := c.start(flags...)
		c.shoppers.visits(shop)
		ctx, stop := context.WithCancel(t.Context())
		c.shoppers.cancels = true
		wait := c.shoppers.shop(ctx, 16, "plenty", "plenty", "scarce")
		random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
		for round := range shortOrLong(5, 100) {
			hook.isDown(round%2 == 0)
			pause(ctx, time.Duration(random.Int64N(int64(700*time.Millisecond))))
			c.kill(shop)
			c.shoppers.visits()
			shop = c.start(flags...)
			c.shoppers.visits(shop)
		}
		hook.isDown(false)
		stop()
		wait()
		c.settle()
		due := map[string]bool{}
		for _, e := range s.snapshot(t).checkouts {
			if e.State == checkout.Committed || e.State == checkout.Cancelled {
				due[e.CheckoutID+".committed"] = true
			}
			if e.State == checkout.Cancelled {
				due[e.CheckoutID+".cancelled"] = true
			}
		}
		// The leases of the killed instances end in two minutes. Nobody waits for that here.
		editor := newEditor(c)
		if err := editor.do(func(tx *database.Tx) error {
			for _, column := range []string{"committed_event_due_at", "cancelled_event_due_at"} {
				if _, err := tx.Exec(t.Context(), "UPDATE checkout_journal SET "+column+" = created_at WHERE "+column+" IS NOT NULL"); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatalf("end the leases: %v", err)
		}
		eventually(t, 60*time.Second, "every sale and every cancellation is announced", func() bool {
			ids, _ := hook.delivered()
			return len(ids) >= len(due)
		})
		ids, repeated := hook.delivered()
		for id := range ids {
			if !due[id] {
				c.violationf("the event %s came, and the checkout is not in its state", id)
			}
		}
		if out, errs, status := run(t, s, nil, "events", "replay", "--since", "1h"); status != 0 || !strings.Contains(out, "due again") {
			t.Errorf("replay: status %d\n%s%s", status, out, errs)
		}
		eventually(t, 60*time.Second, "all are announced once more", func() bool {
			_, again := hook.delivered()
			return again >= len(due)
		})
		c.notef("%d events, %d of them more than once", len(ids), repeated)
		c.check()
	})
}

package events

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString("goroutines are left behind: " + err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var sale = Event{
	Type:       Committed,
	OccurredAt: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC),
	CheckoutID: "c-1", ClientID: "ann", Reference: "order 7",
	Items: []Item{{"mug", 2}},
}

// A memoryOutbox has the events of a test. It is an outbox without a database.
type memoryOutbox struct {
	mu         sync.Mutex
	due        []Event
	deliveries []Delivery
	changed    chan struct{}
}

func newOutbox(due ...Event) *memoryOutbox {
	return &memoryOutbox{due: due, changed: make(chan struct{}, 100)}
}

func (o *memoryOutbox) ClaimEvents(_ context.Context, limit int, _ time.Duration) ([]Event, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(limit, len(o.due))
	claimed := o.due[:n]
	o.due = o.due[n:]
	return claimed, nil
}

func (o *memoryOutbox) StoreDeliveries(_ context.Context, deliveries []Delivery) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.deliveries = append(o.deliveries, deliveries...)
	o.changed <- struct{}{}
	return nil
}

// await returns the results when there are n.
func (o *memoryOutbox) await(t *testing.T, n int) []Delivery {
	t.Helper()
	for {
		o.mu.Lock()
		got := o.deliveries
		o.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-o.changed:
		case <-t.Context().Done():
			t.Fatalf("%d deliveries were stored, want %d", len(got), n)
		}
	}
}

func start(t *testing.T, o outbox, target string) *Deliverer {
	t.Helper()
	key, err := ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	d := New(o, Config{URL: target, Secret: key, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestDeliverer_signatureIsThatOfThePublishedLibrary(t *testing.T) {
	t.Parallel()
	library, err := webhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	type received struct {
		id, body string
		err      error
	}
	got := make(chan received, 1)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Header.Get("webhook-id"), string(body), library.Verify(body, r.Header)}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer shop.Close()
	o := newOutbox(sale)
	start(t, o, shop.URL)
	r := <-got
	if r.err != nil || r.id != "c-1.committed" {
		t.Errorf("ID %q, verification: %v", r.id, r.err)
	}
	want := `{"type":"checkout.committed","timestamp":"2026-11-28T12:00:00Z","data":{"checkoutID":"c-1","clientID":"ann",` +
		`"reference":"order 7","items":[{"productID":"mug","quantity":2}]}}`
	if diff := cmp.Diff(want, r.body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if d := o.await(t, 1)[0]; d.RetryIn != 0 {
		t.Errorf("an acknowledged event is delivered again in %v", d.RetryIn)
	}
}

func TestDeliverer_onlyA2xxAcknowledges(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusMovedPermanently, http.StatusBadRequest, http.StatusGone, http.StatusInternalServerError} {
		shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("a redirect was followed")
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}))
		o := newOutbox(sale)
		start(t, o, shop.URL)
		if d := o.await(t, 1)[0]; d.RetryIn == 0 {
			t.Errorf("status %d acknowledged the event", status)
		}
		shop.Close()
	}
}

func TestDeliverer_webhookThatIsDownIsRetried(t *testing.T) {
	t.Parallel()
	shop := httptest.NewServer(http.NotFoundHandler())
	shop.Close()
	o := newOutbox(sale)
	start(t, o, shop.URL)
	if d := o.await(t, 1)[0]; d.RetryIn < firstRetry || d.RetryIn > lastRetry {
		t.Errorf("retry in %v, want %v to %v", d.RetryIn, firstRetry, lastRetry)
	}
}

func TestDeliverer_slowEventDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("webhook-id") == "slow.committed" {
			<-release
		}
	}))
	defer shop.Close()
	slow := sale
	slow.CheckoutID = "slow"
	due := []Event{slow}
	for range 3 * parallel {
		due = append(due, sale)
	}
	o := newOutbox(due...)
	start(t, o, shop.URL)
	o.await(t, 3*parallel)
	close(release)
	o.await(t, 3*parallel+1)
}

func TestDeliverer_closeStoresWhatWasUnderWay(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	shop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server sees a disconnection only after it
		close(arrived)
		<-r.Context().Done()
	}))
	defer shop.Close()
	o := newOutbox(sale)
	d := start(t, o, shop.URL)
	<-arrived
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := o.await(t, 1)[0]; got.RetryIn == 0 || !errors.Is(got.err, context.Canceled) {
		t.Errorf("an event that was cut off: retry in %v, error %v", got.RetryIn, got.err)
	}
}

func TestRetryIn_growsWithTheAge(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]time.Duration{
		0: firstRetry, time.Minute: 30 * time.Second, 24 * time.Hour: lastRetry,
	} {
		if got := retryIn(age); got != want {
			t.Errorf("age %v: retry in %v, want %v", age, got, want)
		}
	}
}

func TestCheckURL_errorDoesNotRepeatThePassword(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "user:PW@host/b", "ftp://u:PW@host", "http://u:PW@", "https://u:PW@host/#x", "http://u:PW@ho st"} {
		err := CheckURL(bad)
		if err == nil || strings.Contains(err.Error(), "PW") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := CheckURL("https://u:PW@host/hook?x=1"); err != nil {
		t.Error(err)
	}
}

func TestParseSecret_wantsTheStandardsForm(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"whsec_", "whsec_c2hvcnQ=", "whsec_not base64!"} {
		if _, err := ParseSecret(bad); err == nil || (bad != "whsec_" && strings.Contains(err.Error(), bad)) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

package checkout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cartwheel/cart"
	"cartwheel/checkout"
)

// An endpoint takes events, as a webhook does.
type endpoint struct {
	mu     sync.Mutex
	bodies map[string][]string // by ID; under mu
	fail   error               // under mu
}

func (e *endpoint) Send(_ context.Context, id string, body []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	if e.bodies == nil {
		e.bodies = map[string][]string{}
	}
	e.bodies[id] = append(e.bodies[id], string(body))
	return nil
}

func (e *endpoint) failWith(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail = err
}

// deliveries returns how often each event came.
func (e *endpoint) deliveries() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := map[string]int{}
	for id, bodies := range e.bodies {
		n[id] = len(bodies)
	}
	return n
}

// announcer returns an announcer to the endpoint, and what its observer was last told.
func (s *shop) announcer(e *endpoint) (*checkout.Announcer, *lag) {
	l := &lag{}
	return checkout.NewAnnouncer(s.db, e, s.log, checkout.EventObserver{
		Delivered: func() {}, Failed: func() {}, Lag: func(n int, oldest time.Duration) { l.undelivered, l.oldest = n, oldest },
	}), l
}

type lag struct {
	undelivered int
	oldest      time.Duration
}

func announce(t *testing.T, a *checkout.Announcer) {
	t.Helper()
	if err := a.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// withEvents opens an instance that has a webhook.
func (s *shop) withEvents() *instance {
	return s.open(settings{Config: checkout.Config{Events: true}})
}

func TestEvents_saleIsAnnouncedOnceItIsCommitted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.withEvents()
		e := &endpoint{}
		a, lag := s.announcer(e)
		s.add("ann", "book", 2)
		held := in.till.hold()
		c := in.beginPurchase(cart.Purchase{ClientID: "ann", Reference: "order~7"})
		held.await(t, 1)
		announce(t, a)
		want(t, "events before the commit", len(e.deliveries()), 0)
		held.open(s.ledger.approve)
		wantErr(t, c.end(), nil)
		for range 3 {
			announce(t, a)
		}
		want(t, "deliveries", e.deliveries()[c.id+".committed"], 1)
		want(t, "events", len(e.deliveries()), 1)
		want(t, "undelivered", lag.undelivered, 0)
		var body struct {
			Type      string
			Timestamp time.Time
			Data      struct {
				CheckoutID, ClientID, Reference string
				Items                           []struct {
					ProductID string
					Quantity  int64
				}
			}
		}
		if err := json.Unmarshal([]byte(e.bodies[c.id+".committed"][0]), &body); err != nil {
			t.Fatal(err)
		}
		want(t, "type", body.Type, "checkout.committed")
		want(t, "time", body.Timestamp.Equal(s.entry("ann").UpdatedAt), true)
		want(t, "data", fmt.Sprint(body.Data), fmt.Sprintf("{%s ann order~7 [{book 2}]}", c.id))
	})
}

func TestEvents_whatIsNotSoldIsNotAnnounced(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.withEvents()
		e := &endpoint{}
		a, _ := s.announcer(e)
		for client, answer := range map[string]charge{"declined": s.ledger.decline("no"), "unpaid": neverSend} {
			s.add(client, "book", 1)
			in.till.charges(answer)
			_ = in.buy(client)
		}
		announce(t, a)
		// A due time that another program wrote announces nothing either.
		s.exec("UPDATE checkout_journal SET committed_event_due_at = created_at, cancelled_event_due_at = created_at")
		announce(t, a)
		announce(t, a)
		want(t, "events", len(e.deliveries()), 0)
		want(t, "due times left", s.number("SELECT COUNT(*) FROM checkout_journal WHERE committed_event_due_at IS NOT NULL"), 0)
	})
}

func TestEvents_withoutAWebhookNothingIsDue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		s.add("ann", "book", 1)
		wantErr(t, s.open(settings{}).buy("ann"), nil)
		want(t, "due times", s.number("SELECT COUNT(*) FROM checkout_journal WHERE committed_event_due_at IS NOT NULL"), 0)
	})
}

// An event that fails is due again after a pause, under the same ID.
func TestEvents_failedDeliveryIsRetried(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		s.add("ann", "book", 1)
		c := s.withEvents().begin("ann")
		wantErr(t, c.end(), nil)
		e := &endpoint{}
		a, lag := s.announcer(e)
		e.failWith(errors.New("500 Internal Server Error"))
		announce(t, a)
		want(t, "undelivered", lag.undelivered, 1)
		want(t, "the lag is more than nothing", lag.oldest > 0 && lag.oldest < time.Minute, true)
		e.failWith(nil)
		announce(t, a)
		want(t, "deliveries before the pause has ended", len(e.deliveries()), 0)
		eventually(t, "it is delivered", func() bool {
			announce(t, a)
			return e.deliveries()[c.id+".committed"] == 1
		})
		want(t, "undelivered", lag.undelivered, 0)
	})
}

// A crash after the lease, or after the delivery, leaves an event that is due again when the lease
// ends. An instance that was only slow changes nothing then.
func TestEvents_leaseOfADeadInstanceEnds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		id := s.soldTo(s.withEvents(), "ann")
		e, broken := &endpoint{}, &endpoint{fail: errors.New("500 Internal Server Error")}
		other, _ := s.announcer(e)
		dead := &hook{first: func(context.Context) error {
			announce(t, other)
			want(t, "deliveries by another while it is leased", e.deliveries()[id+".committed"], 0)
			s.endPauses()
			announce(t, s.announcerTo(broken))
			return nil
		}}
		announce(t, s.announcerTo(dead))
		s.endPauses()
		announce(t, other)
		want(t, "deliveries", e.deliveries()[id+".committed"], 1)
	})
}

// dying is the endpoint of an instance that ends while it delivers.
type dying struct{ stop context.CancelFunc }

func (d dying) Send(ctx context.Context, _ string, _ []byte) error {
	d.stop()
	return ctx.Err()
}

func TestEvents_instancesShareTheDeliveries(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const sales = 200 // several batches
		s.stock("book", 1000)
		in := s.withEvents()
		var calls []*call
		for i := range sales {
			s.add(fmt.Sprint("client-", i), "book", 1)
			calls = append(calls, in.begin(fmt.Sprint("client-", i)))
		}
		allSold(t, calls)
		e := &endpoint{}
		var all sync.WaitGroup
		for range 3 {
			a, _ := s.announcer(e)
			all.Go(func() {
				for range sales {
					if err := a.Announce(t.Context()); err != nil {
						t.Error(err)
					}
					if len(e.deliveries()) == sales {
						return
					}
				}
			})
		}
		all.Wait()
		got := e.deliveries()
		want(t, "events", len(got), sales)
		for id, n := range got {
			if n != 1 {
				t.Errorf("%s was delivered %d times", id, n)
			}
		}
	})
}

func TestEvents_pruneKeepsWhatIsUndelivered(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.withEvents()
		for _, client := range []string{"delivered", "due"} {
			s.add(client, "book", 1)
			wantErr(t, in.buy(client), nil)
		}
		s.exec("UPDATE checkout_journal SET committed_event_due_at = NULL WHERE client_id = 'delivered'")
		kept := s.entries(checkout.Filter{})
		if n, err := checkout.Prune(t.Context(), s.db, time.Nanosecond); err != nil || n != 1 {
			t.Errorf("pruned %d, %v, want 1", n, err)
		}
		left := s.entries(checkout.Filter{})
		want(t, "left", len(left), 1)
		want(t, "whose", left[0].ClientID, "due")
		s.putBackEntries(kept)
	})
}

// putBackEntries stores pruned checkouts again, so that the books can be checked.
func (s *shop) putBackEntries(entries []checkout.Entry) {
	s.t.Helper()
	for _, e := range entries {
		if s.number("SELECT COUNT(*) FROM checkout_journal WHERE checkout_id = ?", e.CheckoutID) > 0 {
			continue
		}
		items, err := json.Marshal(e.Lines)
		if err != nil {
			s.t.Fatal(err)
		}
		now := s.db.Dialect().Now()
		s.exec("INSERT INTO checkout_journal (checkout_id, client_id, state, epoch, items, created_at, updated_at)"+
			" VALUES (?, ?, ?, ?, ?, "+now+", "+now+")", e.CheckoutID, e.ClientID, string(e.State), e.Epoch, string(items))
	}
}

func TestReplayEvents_announcesSalesOnceMore(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.withEvents()
		e := &endpoint{}
		a, _ := s.announcer(e)
		var ids []string
		for _, client := range []string{"ann", "bob"} {
			s.add(client, "book", 1)
			c := in.begin(client)
			wantErr(t, c.end(), nil)
			ids = append(ids, c.id+".committed")
		}
		s.add("eve", "book", 1)
		in.till.charges(s.ledger.decline("no"))
		wantErr(t, in.buy("eve"), checkout.ErrDeclined)
		announce(t, a)
		n, err := checkout.ReplayEvents(t.Context(), s.db, time.Hour)
		if err != nil || n != 2 {
			t.Errorf("replayed %d, %v, want 2", n, err)
		}
		announce(t, a)
		slices.Sort(ids)
		for _, id := range ids {
			want(t, "deliveries of "+id, e.deliveries()[id], 2)
		}
		want(t, "events", len(e.deliveries()), 2)
	})
}

package checkout_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/checkout/webhook"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// A hook is an endpoint that does something before it takes its first event.
type hook struct {
	endpoint
	once  sync.Once
	first func(ctx context.Context) error
}

func (h *hook) Send(ctx context.Context, id string, body []byte) (err error) {
	h.once.Do(func() { err = h.first(ctx) })
	if err != nil {
		return err
	}
	return h.endpoint.Send(ctx, id, body)
}

// announcerTo returns an announcer to any sender.
func (s *shop) announcerTo(send interface {
	Send(ctx context.Context, id string, body []byte) error
}) *checkout.Announcer {
	return checkout.NewAnnouncer(s.db, send, s.log, checkout.EventObserver{
		Delivered: func() {}, Failed: func() {}, Lag: func(int, time.Duration) {},
	})
}

// soldTo sells one book to the client and returns the checkout's ID.
func (s *shop) soldTo(in *instance, client string) string {
	s.t.Helper()
	s.add(client, "book", 1)
	c := in.begin(client)
	wantErr(s.t, c.end(), nil)
	return c.id
}

// endPauses makes the events due that wait for another delivery.
func (s *shop) endPauses() {
	s.t.Helper()
	for _, column := range []string{"committed_event_due_at", "cancelled_event_due_at"} {
		s.exec("UPDATE checkout_journal SET " + column + " = created_at WHERE " + column + " IS NOT NULL")
	}
}

// due returns how many events of sales are due now.
func (s *shop) due() int64 {
	s.t.Helper()
	return s.number("SELECT COUNT(*) FROM checkout_journal WHERE committed_event_due_at <= " + s.db.Dialect().Now())
}

// Saleor issue 14251: without an ID that is the same in each attempt, a receiver cannot tell a
// repeat from another event.
func TestEvents_everyAttemptHasTheSameID(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		id := s.soldTo(s.withEvents(), "ann")
		answers := []http.HandlerFunc{
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			},
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		}
		var got []string // the announcer makes one request at a time
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.URL.Path+" "+r.Header.Get("webhook-id"))
			answers[len(got)-1](w, r)
		}))
		defer server.Close()
		deliver := func(url string) {
			sender, err := webhook.New(url, "")
			if err != nil {
				t.Fatal(err)
			}
			defer sender.Close()
			announce(t, s.announcerTo(sender))
			s.endPauses()
		}
		refusing := httptest.NewServer(nil)
		refusing.Close()
		deliver(refusing.URL)
		for range len(answers) + 1 { // the last one has nothing to deliver
			deliver(server.URL + "/events")
		}
		if want := slices.Repeat([]string{"/events " + id + ".committed"}, len(answers)); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestEvents_runDeliversUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.withEvents()
		e := &endpoint{}
		a, _ := s.announcer(e)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.Run(ctx)
		}()
		for _, client := range []string{"ann", "bob"} {
			id := s.soldTo(in, client)
			eventually(t, "it is delivered", func() bool { return e.deliveries()[id+".committed"] == 1 })
		}
		stop()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("it does not end")
		}
	})
}

func TestEvents_cancellationIsAnnouncedBesideTheSale(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.withEvents()
		e := &endpoint{}
		a, _ := s.announcer(e)
		id := s.soldTo(in, "ann")
		in.till.refunds(refuse("no"))
		wantErr(t, in.cancel(id), checkout.ErrNotCancellable)
		announce(t, a)
		in.till.refunds(s.ledger.refund)
		wantErr(t, in.cancel(id), nil)
		both := s.soldTo(in, "bob")
		wantErr(t, in.cancel(both), nil) // before its sale is announced
		for range 2 {
			announce(t, a)
		}
		got := e.deliveries()
		want(t, "events", len(got), 4)
		for _, event := range []string{id + ".committed", id + ".cancelled", both + ".committed", both + ".cancelled"} {
			want(t, "deliveries of "+event, got[event], 1)
		}
	})
}

// The pause counts from the cancellation, and not from a sale that may be weeks ago.
func TestEvents_failedCancellationIsRetriedSoon(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.withEvents()
		e := &endpoint{}
		a, lag := s.announcer(e)
		id := s.soldTo(in, "ann")
		announce(t, a)
		s.exec("UPDATE checkout_journal SET created_at = " + s.db.Dialect().NowPlus(-20*24*time.Hour))
		wantErr(t, in.cancel(id), nil)
		e.failWith(errors.New("503 Service Unavailable"))
		announce(t, a)
		want(t, "the lag is the cancellation's", lag.undelivered == 1 && lag.oldest < time.Minute, true)
		e.failWith(nil)
		eventually(t, "it is delivered", func() bool {
			announce(t, a)
			return e.deliveries()[id+".cancelled"] == 1
		})
	})
}

func TestEvents_instanceThatEndsLeavesItsEventsDue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		s.soldTo(s.withEvents(), "ann")
		ending, stop := context.WithCancel(t.Context())
		if _, err := s.announcerTo(dying{stop}).AnnounceSales(ending); err != nil {
			t.Error(err)
		}
		want(t, "events due at once", s.due(), 1)
	})
}

// A replay during a delivery asks for one more, also when another instance leases it before the
// delivery ends.
func TestEvents_replayDuringADeliveryIsKept(t *testing.T) {
	t.Parallel()
	for _, leased := range []bool{false, true} {
		t.Run(fmt.Sprint("leased=", leased), func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, s *shop) {
				s.stock("book", 50)
				id := s.soldTo(s.withEvents(), "ann")
				h := &hook{first: func(ctx context.Context) error {
					n, err := checkout.ReplayEvents(ctx, s.db, time.Hour)
					want(t, "replayed", n, 1)
					if leased && err == nil {
						broken := &endpoint{fail: errors.New("500 Internal Server Error")}
						err = s.announcerTo(broken).Announce(ctx)
					}
					return err
				}}
				a := s.announcerTo(h)
				announce(t, a)
				want(t, "deliveries", h.deliveries()[id+".committed"], 1)
				s.endPauses()
				announce(t, a)
				want(t, "deliveries after the replay", h.deliveries()[id+".committed"], 2)
			})
		})
	}
}

// While the endpoint fails, it is not asked again and again for the backlog.
func TestEvents_fullBatchIsFollowedByAnotherUnlessAllOfItFailed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const sales = 2*checkout.EventBatch + 1
		s.stock("book", 1000)
		in := s.withEvents()
		var calls []*call
		for i := range sales {
			s.add(fmt.Sprint("client-", i), "book", 1)
			calls = append(calls, in.begin(fmt.Sprint("client-", i)))
		}
		allSold(t, calls)
		e := &endpoint{fail: errors.New("500 Internal Server Error")}
		a := s.announcerTo(e)
		for _, more := range []bool{false, true, false} {
			got, err := a.AnnounceSales(t.Context())
			if err != nil || got != more {
				t.Errorf("more: got %v, %v, want %v", got, err, more)
			}
			e.failWith(nil)
		}
		want(t, "delivered", len(e.deliveries()), checkout.EventBatch+1)
	})
}

// A row that another session keeps locked delays its own event alone, before the lease and after.
func TestEvents_lockedRowDelaysItsOwnEventAlone(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		s.stock("book", 50)
		in := s.withEvents()
		locked, free := s.soldTo(in, "locked"), s.soldTo(in, "free")
		lock := func() (unlock func()) {
			return s.lockRows(t, "SELECT * FROM checkout_journal WHERE checkout_id = ?", locked)
		}
		unlock := lock()
		e := &endpoint{}
		a, _ := s.announcer(e)
		began := time.Now()
		announce(t, a)
		if took := time.Since(began); took >= lockWait {
			t.Errorf("the lease took %v", took)
		}
		want(t, "deliveries of the free one", e.deliveries()[free+".committed"], 1)
		want(t, "deliveries of the locked one", e.deliveries()[locked+".committed"], 0)
		unlock()

		second := s.soldTo(in, "second")
		h := &hook{first: func(context.Context) error {
			unlock = lock()
			return nil
		}}
		a = s.announcerTo(h)
		announce(t, a)
		unlock()
		want(t, "deliveries", fmt.Sprint(h.deliveries()), fmt.Sprint(map[string]int{second + ".committed": 1, locked + ".committed": 1}))
		s.endPauses() // the lease of the locked one ends
		announce(t, a)
		want(t, "deliveries of the one that was not locked", h.deliveries()[second+".committed"], 1)
		want(t, "deliveries of the one that was locked", h.deliveries()[locked+".committed"], 2)
	})
}

// A search for events costs the same however old the journal is, and however many are due.
func TestEvents_leaseReadsNoMoreThanItsBatch(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		s.settledRows(20_000, 48*time.Hour)
		rows := func() (n int64) {
			s.exec("ANALYZE TABLE checkout_journal")
			s.transact(func(ctx context.Context, tx *database.Tx) error {
				before, err := handlerReads(ctx, tx)
				if err == nil {
					err = checkout.LeaseSales(ctx, tx)
				}
				if err != nil {
					return err
				}
				after, err := handlerReads(ctx, tx)
				n = after - before
				return err
			})
			return n
		}
		if n := rows(); n > 20 {
			t.Errorf("nothing is due, and %d rows were read", n)
		}
		s.exec("UPDATE checkout_journal SET committed_event_due_at = created_at")
		if n := rows(); n > 8*checkout.EventBatch {
			t.Errorf("a batch of %d read %d rows", checkout.EventBatch, n)
		}
	})
}

package checkout_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

// A checkout that was not paid deletes its key: repeats that waited get the same answer, a later
// one buys.
func TestCheckOut_notPaidFreesItsKey(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]charge{"not sent": neverSend, "outcome unknown": lose} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, s *shop) {
				s.stock("book", 5)
				s.add("ada", "book", 2)
				one, other := s.open(settings{}), s.open(settings{idle: true})
				held := one.till.hold()
				first := one.beginKeyed("ada", "key")
				held.await(t, 1)
				var repeats []*call
				for range 3 {
					repeats = append(repeats, one.beginKeyed("ada", "key"), other.beginKeyed("ada", "key"))
				}
				eventually(t, "the repeats wait", func() bool { return one.Waiting()+other.Waiting() == 6 })
				held.open(fail)
				for _, c := range append(repeats, first) {
					wantErr(t, c.end(), checkout.ErrUnpaid)
				}
				want(t, "keys", s.number("SELECT COUNT(*) FROM idempotency_key"), 0)
				want(t, "ada's cart", s.inCart("ada"), "book×2")
				// One that found the key under way, but comes to wait only now.
				_, err := other.AwaitFirst(t.Context(), cart.Purchase{ClientID: "ada", Key: "key"}, s.entries(checkout.Filter{})[0].CheckoutID)
				wantErr(t, err, checkout.ErrUnpaid)
				one.till.back()
				wantErr(t, one.beginKeyed("ada", "key").end(), nil)
				wantReplay(t, other.beginKeyed("ada", "key").end(), nil)
			})
		})
	}
}

// All repeats of one checkout share one poll of the database.
func TestCheckOut_repeatsOfACheckoutShareOnePoll(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		held := in.till.hold()
		first := in.beginKeyed("ada", "key")
		held.await(t, 1)
		var repeats []*call
		for range 400 {
			repeats = append(repeats, in.beginKeyed("ada", "key"))
		}
		eventually(t, "the repeats wait", func() bool { return in.Waiting() == len(repeats) })
		want(t, "checkouts that are polled", in.Polled(), 1)
		held.open(s.ledger.approve)
		wantErr(t, first.end(), nil)
		for _, c := range repeats {
			if err := c.end(); err != nil { // nil is the journal's end: a busy database gave the stored answer too late
				wantReplay(t, err, nil)
			}
		}
		want(t, "checkouts that are polled", in.Polled(), 0)
	})
}

// Another program raised the line during the payment, so that the restored units do not fit.
func TestSettle_capsARestoredLineThatWouldOverflow(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		var log bytes.Buffer // its handler's lock is the only one that is needed: it is read once the checkouts have ended
		s := newShopFor(t, db, slog.New(slog.NewTextHandler(&log, nil)))
		s.stock("book", 5)
		s.add("ada", "book", 4)
		s.add("bob", "book", 1)
		in := s.open(settings{})
		held := in.till.hold()
		ada, bob := in.begin("ada"), in.begin("bob")
		held.await(t, 2)
		s.exec("INSERT INTO client_cart (client_id, product_id, quantity) VALUES ('ada', 'book', 2147483646)")
		held.open(s.ledger.decline("no"))
		wantErr(t, ada.end(), checkout.ErrDeclined)
		wantErr(t, bob.end(), checkout.ErrDeclined)
		want(t, "ada's cart", s.inCart("ada"), fmt.Sprintf("book×%d", cart.MaxQuantity))
		if lost := `client=ada product=book units=3`; !strings.Contains(log.String(), lost) {
			t.Errorf("the log does not say %q:\n%s", lost, &log)
		}
		s.mu.Lock()
		s.added[units{"ada", "book"}] = cart.MaxQuantity
		s.mu.Unlock()
	})
}

// Each attempt of TX 1 has checkout IDs of its own: what a lost attempt wrote is never taken for
// another's.
func TestReserve_eachAttemptHasIDsOfItsOwn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		var mu sync.Mutex
		var ids []string
		stock := &retriedStock{seen: func(id string) int {
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, id)
			return len(ids)
		}}
		in := s.openWith(stock, settings{})
		wantErr(t, in.buy("ada"), nil)
		if len(ids) != 2 || ids[0] == ids[1] {
			t.Errorf("the attempts' IDs are %v, want two", ids)
		}
		want(t, "the committed checkout", s.entry("ada").CheckoutID, ids[1])
	})
}

// retriedStock makes the first TX 1 retry.
type retriedStock struct {
	*inventory.Manager
	seen func(checkoutID string) (attempts int)
}

func (r *retriedStock) Reserve(b *database.Batch, reservations []inventory.Reservation) {
	attempt := r.seen(reservations[0].CheckoutID)
	r.Manager.Reserve(b, reservations)
	b.Exec(func(int64) error {
		if attempt == 1 {
			return database.ErrRetry
		}
		return nil
	}, "UPDATE checkout_journal SET epoch = epoch WHERE checkout_id = ''")
}

// openWith opens an instance with another stock.
func (s *shop) openWith(stock *retriedStock, set settings) *instance {
	s.t.Helper()
	stock.Manager = inventory.New(s.db)
	set.till = s.ledger.till()
	in := &instance{checkout.New(s.db, &cart.Store{}, stock, set.till, checkout.Config{
		QueueCapacity: 16, BatchSize: 16, InFlight: 16, Lease: patience, PaymentTimeout: patience, ResponseTo: present, Log: s.log,
	}), s, set.till}
	s.t.Cleanup(func() { wantErr(s.t, in.Close(context.Background()), nil) })
	return in
}

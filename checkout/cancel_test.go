package checkout_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/payment"
)

// A cancelCall is a cancellation asked for, in a goroutine of its own.
type cancelCall struct {
	t      tester
	done   chan struct{}
	err    error // set before done is closed
	hangUp context.CancelFunc
}

// beginCancel asks for the cancellation of a checkout.
func (in *instance) beginCancel(id string) *cancelCall { return in.beginCancelWithin(patience, id) }

// beginCancelWithin is beginCancel for a caller who waits that long.
func (in *instance) beginCancelWithin(wait time.Duration, id string) *cancelCall {
	ctx, hangUp := context.WithTimeout(context.Background(), wait)
	c := &cancelCall{t: in.s.t, done: make(chan struct{}), hangUp: hangUp}
	go func() {
		defer hangUp()
		c.err = in.Cancel(ctx, id)
		close(c.done)
	}()
	return c
}

// end waits for the answer.
func (c *cancelCall) end() error {
	c.t.Helper()
	select {
	case <-c.done:
		return c.err
	case <-time.After(2 * patience):
		c.t.Fatal("a cancellation was not answered")
		return nil
	}
}

// cancel cancels a checkout and waits for the answer.
func (in *instance) cancel(id string) error {
	in.s.t.Helper()
	return in.beginCancel(id).end()
}

// sold opens an instance whose client ada has bought two books and three pens of five each.
func (s *shop) sold(set settings) (in *instance, id string) {
	s.t.Helper()
	s.stock("book", 5)
	s.stock("pen", 5)
	s.add("ada", "book", 2)
	s.add("ada", "pen", 3)
	in = s.open(set)
	ada := in.begin("ada")
	wantErr(s.t, ada.end(), nil)
	return in, ada.id
}

// wantCancelled checks that ada's checkout of sold is cancelled, once.
func (s *shop) wantCancelled(id string) {
	s.t.Helper()
	e := s.entry("ada")
	want(s.t, "state", e.State, checkout.Cancelled)
	want(s.t, "reason", e.Reason, "")
	want(s.t, "has a lease", e.LeaseExpiresAt.IsZero(), true)
	want(s.t, "refunded", s.ledger.of(id).refunded, true)
	want(s.t, "books on hand", s.onHand("book"), 5)
	want(s.t, "pens on hand", s.onHand("pen"), 5)
	want(s.t, "ada's cart", s.inCart("ada"), "")
}

// wantSold checks that ada's checkout of sold is committed.
func (s *shop) wantSold() {
	s.t.Helper()
	e := s.entry("ada")
	want(s.t, "state", e.State, checkout.Committed)
	want(s.t, "has a lease", e.LeaseExpiresAt.IsZero(), true)
	want(s.t, "books on hand", s.onHand("book"), 3)
	want(s.t, "pens on hand", s.onHand("pen"), 2)
}

// refuse answers refunds with the payment service's no.
func refuse(reason string) func(context.Context, string) (payment.Result, error) {
	return func(context.Context, string) (payment.Result, error) {
		return payment.Result{Status: payment.Refused, Reason: reason}, nil
	}
}

// holdRefunds makes refunds wait until the gate is opened; then they are answered as the ledger
// does.
func (g *till) holdRefunds() *gate {
	held := g.gate(false)
	g.refunds(func(ctx context.Context, id string) (payment.Result, error) {
		if err := held.pass(ctx, id); err != nil {
			return payment.Result{}, err
		}
		return g.ledger.refund(ctx, id)
	})
	return held
}

// wantNotCancellable checks that a cancellation is refused for a reason.
func wantNotCancellable(t tester, err error, reason string) {
	t.Helper()
	refused, ok := errors.AsType[*checkout.ReasonError](err)
	if !ok || refused.Reason != reason || !errors.Is(err, checkout.ErrNotCancellable) {
		t.Errorf("answered %v, want that it cannot be cancelled: %s", err, reason)
	}
}

func TestCancel_refundsThenRestocks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{})
		in.till.refunds(func(ctx context.Context, id string) (payment.Result, error) {
			e := s.entry("ada")
			want(t, "state during the refund", e.State, checkout.Cancelling)
			want(t, "epoch during the refund", e.Epoch, 2)
			want(t, "books on hand during the refund", s.onHand("book"), 3)
			want(t, "has no lease during the refund", e.LeaseExpiresAt.IsZero(), false)
			return s.ledger.refund(ctx, id)
		})
		wantErr(t, in.cancel(id), nil)
		s.wantCancelled(id)
		want(t, "refunds", in.till.refunded.Load(), 1)
	})
}

func TestCancel_repeatGetsTheSameAnswer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{})
		other := s.open(settings{idle: true})
		wantErr(t, in.cancel(id), nil)
		wantErr(t, in.cancel(id), nil)
		wantErr(t, other.cancel(id), nil)
		s.wantCancelled(id)
		want(t, "refunds", s.ledger.of(id).refunds, 1)
		now, _ := in.InFlight()
		want(t, "in flight", now, 0)
	})
}

func TestCancel_isRefusedUnlessCommitted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		in := s.open(settings{})
		wantErr(t, in.cancel("00000000-0000-7000-8000-000000000000"), checkout.ErrNotFound)

		s.add("ada", "book", 2)
		in.till.charges(s.ledger.decline("no"))
		ada := in.begin("ada")
		wantErr(t, ada.end(), checkout.ErrDeclined)
		wantNotCancellable(t, in.cancel(ada.id), "it is rolled_back")

		s.add("bob", "book", 1)
		held := in.till.hold()
		bob := in.begin("bob")
		id := held.await(t, 1)[0]
		wantNotCancellable(t, in.cancel(id), "it is reserved")

		s.lower("book", 5)
		refund := in.till.holdRefunds()
		held.open(s.ledger.approve)
		refund.await(t, 1)
		wantNotCancellable(t, in.cancel(id), "it is refunding")
		refund.open(nil)
		wantErr(t, bob.end(), checkout.ErrRefunded)
	})
}

func TestCancel_isRefusedAfterThirtyDaysByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{})
		began := func(age time.Duration) {
			s.exec("UPDATE checkout_journal SET created_at = "+s.db.Dialect().NowPlus(-age)+" WHERE checkout_id = ?", id)
		}
		began(30*24*time.Hour + time.Second)
		wantNotCancellable(t, in.cancel(id), "it was committed over 30 days ago")
		s.wantSold()
		want(t, "refunds", in.till.refunded.Load(), 0)
		began(30*24*time.Hour - time.Minute)
		wantErr(t, in.cancel(id), nil)
		began(31 * 24 * time.Hour)
		wantErr(t, in.cancel(id), nil) // a repeat gets the same answer, however late
		s.wantCancelled(id)
	})
}

func TestCancel_refusedRefundLeavesItCommitted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{})
		in.till.refunds(refuse("it is shipped"))
		for range 2 { // a repeat asks again
			wantNotCancellable(t, in.cancel(id), "refund refused: it is shipped")
			s.wantSold()
			want(t, "reason", s.entry("ada").Reason, "refund refused: it is shipped")
		}
		want(t, "refunds", in.till.refunded.Load(), 2)
		in.till.refunds(refuse(""))
		wantNotCancellable(t, in.cancel(id), "refund refused")
		in.till.back()
		wantErr(t, in.cancel(id), nil)
		s.wantCancelled(id)
	})
}

func TestCancel_damagedLinesAreNotRefunded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{})
		s.exec("UPDATE checkout_journal SET items = CONCAT('?', items)")
		if err := in.cancel(id); err == nil || errors.Is(err, checkout.ErrNotCancellable) {
			t.Errorf("answered %v, want that the journal is damaged", err)
		}
		want(t, "refunds", in.till.refunded.Load(), 0)
		s.exec("UPDATE checkout_journal SET items = SUBSTR(items, 2)")
		s.wantSold()
	})
}

func TestCancel_answersTheKeyOfItsCheckoutNoMore(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		ada := in.beginKeyed("ada", "key")
		wantErr(t, ada.end(), nil)
		refund := in.till.holdRefunds()
		cancel := in.beginCancel(ada.id)
		refund.await(t, 1)
		wantReplay(t, in.beginKeyed("ada", "key").end(), nil)
		refund.open(nil)
		wantErr(t, cancel.end(), nil)
		wantReplay(t, in.beginKeyed("ada", "key").end(), nil)
		want(t, "on hand", s.onHand("book"), 5)
	})
}

// A cancellation has nothing to do with the client's cart.
func TestCancel_isNoCheckoutUnderWay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{})
		refund := in.till.holdRefunds()
		cancel := in.beginCancel(id)
		refund.await(t, 1)
		want(t, "a checkout is under way", emptiness(t, in.buy("ada")), false)
		s.add("ada", "book", 1)
		wantErr(t, in.buy("ada"), nil)
		refund.open(nil)
		wantErr(t, cancel.end(), nil)
		want(t, "books on hand", s.onHand("book"), 4)
	})
}

func TestCancel_eachMoveIsObserved(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		moves := make(chan checkout.State, 16)
		in, id := s.sold(settings{Config: checkout.Config{ObserveMove: func(state checkout.State) { moves <- state }}})
		in.till.refunds(refuse("no"))
		wantErr(t, in.cancel(id), checkout.ErrNotCancellable)
		in.till.refunds(nil)
		wantErr(t, in.cancel(id), nil)
		wantErr(t, in.cancel(id), nil)
		for _, state := range []checkout.State{
			checkout.Committed, checkout.Cancelling, checkout.Committed, checkout.Cancelling, checkout.Cancelled,
		} {
			want(t, "move", <-moves, state)
		}
		want(t, "further moves", len(moves), 0)
	})
}

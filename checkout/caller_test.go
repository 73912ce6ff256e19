package checkout_test

import (
	"context"
	"errors"
	"testing"

	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/queue"
)

func TestCaller_checkoutWhoseCallerLeftTheQueueIsSkipped(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		s.decoys()
		st := newStall()
		in := s.open(settings{carts: &watchedCarts{lock: st.pass}})
		calls, waiting := st.occupy(in, reserves)
		ada := in.begin("ada")
		eventually(t, "the checkout waits in the queue", func() bool { return in.depth(reserves) == waiting+1 })

		ada.hangUp()
		wantErr(t, ada.end(), queue.ErrNotStarted)

		st.open()
		allSold(t, calls)
		eventually(t, "the queue is empty", func() bool { return in.depth(reserves) == 0 })
		want(t, "ada's checkouts", len(s.entries(checkout.Filter{ClientID: "ada"})), 0)
		want(t, "ada's cart", s.inCart("ada"), "book×1")
	})
}

func TestCaller_checkoutThatIsBegunDoesNotDependOnItsCaller(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		in := s.open(settings{})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)

		ada.hangUp()
		var pending *checkout.PendingError
		if err := ada.end(); !errors.As(err, &pending) {
			t.Fatalf("answered %v, want that it is pending", err)
		}
		want(t, "the checkout that is pending", pending.CheckoutID, s.entry("ada").CheckoutID)
		want(t, "held", s.held("book"), 1)

		held.open(s.ledger.approve)
		s.quiet()
		want(t, "state", s.entry("ada").State, checkout.Committed)
	})
}

func TestCaller_callerWhoLeavesDuringTX1IsNotToldThatNothingWasDone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.decoys()
		st := newStall()
		in := s.open(settings{carts: &watchedCarts{lock: st.pass}})
		calls, _ := st.occupy(in, reserves)
		calls[0].hangUp() // the first is in a batch for certain
		wantErr(t, calls[0].end(), queue.ErrUnanswered)
		st.open()
		allSold(t, calls[1:])
		eventually(t, "the checkout goes on", func() bool {
			return len(s.entries(checkout.Filter{ClientID: "decoy-00", State: checkout.Committed})) == 1
		})
	})
}

func TestCaller_callerWithoutTimeIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in := s.open(settings{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := in.CheckOut(ctx, cart.Purchase{ClientID: "ada"}); err == nil {
			t.Error("answered with a sale")
		}
	})
}

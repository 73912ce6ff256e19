package checkout_test

import (
	"errors"
	"testing"

	"cartwheel/checkout"
	"cartwheel/inventory"
)

// The faults of these tests are from the public trackers of shop systems: see docs/reliability.md.

// Sylius#3573, Sylius#7707: a failed payment leaves the stock blocked, and the customer's own retry
// is refused.
func TestTracker_failedPaymentDoesNotBlockTheCustomersOwnRetry(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 1)
		s.add("ada", "book", 1)
		in := s.open(settings{})
		in.till.charges(s.ledger.decline("no"))
		wantErr(t, in.buy("ada"), checkout.ErrDeclined)
		in.till.charges(s.ledger.approve)
		wantErr(t, in.buy("ada"), nil)
		want(t, "on hand", s.onHand("book"), 0)
		want(t, "reserved", s.held("book"), 0)
	})
}

// Sylius#9435: a rollback fails when on hand was lowered below what the order had reserved.
func TestTracker_rollbackNeedsNoStock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 5)
		in := s.open(settings{})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)
		s.lower("book", 5)
		held.open(s.ledger.decline("no"))
		wantErr(t, ada.end(), checkout.ErrDeclined)
		want(t, "on hand", s.onHand("book"), 0)
		want(t, "reserved", s.held("book"), 0)
		want(t, "ada's cart", s.inCart("ada"), "book×5")
	})
}

// medusa#4531: after a failed checkout the cart cannot be changed any more.
func TestTracker_cartCanBeChangedAfterAFailedCheckout(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.stock("pen", 5)
		s.add("ada", "book", 5)
		s.add("bob", "book", 1)
		in := s.open(settings{})
		wantErr(t, in.buy("bob"), nil)
		var short *inventory.NotEnoughError
		if err := in.buy("ada"); !errors.As(err, &short) {
			t.Fatalf("got %v, want a shortage", err)
		}
		s.add("ada", "pen", 1)
		s.stock("book", 1)
		wantErr(t, in.buy("ada"), nil)
		want(t, "ada's cart", s.inCart("ada"), "")
	})
}

// woocommerce#68693: two requests for one order at once are charged twice.
func TestTracker_twoCheckoutsAtOnceAreChargedOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 10)
		s.add("ada", "book", 2)
		one, two := s.open(settings{}), s.open(settings{idle: true})
		first, second := one.begin("ada"), two.begin("ada")
		sold := 0
		for _, err := range []error{first.end(), second.end()} {
			if err == nil {
				sold++
			}
		}
		want(t, "sales", sold, 1)
		want(t, "charges", s.ledger.captures(), 1)
		want(t, "on hand", s.onHand("book"), 8)
	})
}

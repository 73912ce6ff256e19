package checkout_test

import (
	"errors"
	"testing"

	"cartwheel/cart"
	"cartwheel/checkout"
)

// emptiness returns whether a cart was found empty, and whether because a checkout is under way.
func emptiness(t tester, err error) (underWay bool) {
	t.Helper()
	if !errors.Is(err, cart.ErrEmpty) {
		t.Fatalf("answered %v, want an empty cart", err)
	}
	return errors.Is(err, cart.ErrCheckoutUnderWay)
}

func TestEmptyCart_isNotPaid(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.exec("INSERT INTO client_cart (client_id, product_id, quantity) VALUES ('bob', 'book', 0), ('cid', 'book', NULL)")
		in := s.open(settings{})
		for _, client := range []string{"ada", "bob", "cid"} { // no line; lines of nothing are none
			want(t, "a checkout is under way", emptiness(t, in.buy(client)), false)
		}
		want(t, "charges", in.till.charged.Load(), 0)
		want(t, "rows in the journal", len(s.entries(checkout.Filter{})), 0)
	})
}

func TestEmptyCart_cartIsEmptyWhileItsCheckoutIsUnderWayAndSaysSo(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		one, other := s.open(settings{}), s.open(settings{idle: true})
		held := one.till.hold()
		first := one.begin("ada")
		held.await(t, 1)

		want(t, "under way, on this instance", emptiness(t, one.buy("ada")), true)
		want(t, "under way, on another instance", emptiness(t, other.buy("ada")), true)
		want(t, "under way, for another client", emptiness(t, other.buy("bob")), false)

		held.open(s.ledger.approve)
		wantErr(t, first.end(), nil)
		want(t, "under way, after its end", emptiness(t, other.buy("ada")), false)
	})
}

func TestEmptyCart_ofManyCheckoutsOfOneCartAtOnceOneSells(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 100)
		s.add("ada", "book", 2)
		instances := []*instance{s.open(settings{}), s.open(settings{idle: true})}
		var calls []*call
		for i := range 50 {
			calls = append(calls, instances[i%2].begin("ada"))
		}
		sold := 0
		for _, c := range calls {
			if err := c.end(); err == nil {
				sold++
			} else {
				wantErr(t, err, cart.ErrEmpty)
			}
		}
		want(t, "sales", sold, 1)
		want(t, "charges", s.ledger.captures(), 1)
		want(t, "on hand", s.onHand("book"), 98)
	})
}

package checkout_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/inventory"
)

func TestSale_checkoutSellsWhatIsInTheCart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 10)
		s.stock("pen", 5)
		s.add("ada", "book", 3)
		s.add("ada", "pen", 5)
		in := s.open(settings{})

		wantErr(t, in.buy("ada"), nil)

		want(t, "books on hand", s.onHand("book"), 7)
		want(t, "pens on hand", s.onHand("pen"), 0)
		want(t, "books held", s.held("book"), 0)
		want(t, "ada's cart", s.inCart("ada"), "")
		e := s.entry("ada")
		want(t, "state", e.State, checkout.Committed)
		want(t, "reason", e.Reason, "")
		bought := []inventory.Line{{ProductID: "book", Quantity: 3}, {ProductID: "pen", Quantity: 5}}
		if diff := cmp.Diff(bought, e.Lines); diff != "" {
			t.Errorf("the journal's lines (-want +got):\n%s", diff)
		}
		order := s.ledger.of(e.CheckoutID).order
		want(t, "what the gateway was told of", fmt.Sprint(order.ClientID, order.Items), "ada[{book 3} {pen 5}]")
	})
}

func TestSale_whatIsUnderWayIsReservedAndNotSold(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 3)
		s.add("bob", "book", 3)
		in := s.open(settings{})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)

		want(t, "on hand", s.onHand("book"), 5)
		want(t, "held", s.held("book"), 3)
		want(t, "state", s.entry("ada").State, checkout.Reserved)
		var short *inventory.NotEnoughError
		if err := in.buy("bob"); !errors.As(err, &short) {
			t.Fatalf("bob was answered %v, want a shortage", err)
		}
		want(t, "shortage", *short, inventory.NotEnoughError{ProductID: "book", Wanted: 3, Available: 2})
		want(t, "bob's cart", s.inCart("bob"), "book×3")

		held.open(s.ledger.approve)
		wantErr(t, ada.end(), nil)
	})
}

func TestSale_declinePutsTheLinesBackAndFreesTheStock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 3)
		s.stock("pen", 3)
		s.add("ada", "book", 3)
		s.add("ada", "pen", 1)
		in := s.open(settings{})
		in.till.charges(s.ledger.decline("no: money: left"))

		err := in.buy("ada")

		var declined *checkout.ReasonError
		if !errors.As(err, &declined) || declined.Reason != "no: money: left" {
			t.Errorf("answered %v, want a decline with its reason", err)
		}
		want(t, "ada's cart", s.inCart("ada"), "book×3 pen×1")
		want(t, "on hand", s.onHand("book"), 3)
		want(t, "held", s.held("book"), 0)
		want(t, "journal", s.entry("ada").Reason, "declined: no: money: left")
		want(t, "state", s.entry("ada").State, checkout.RolledBack)

		in.till.back()
		wantErr(t, in.buy("ada"), nil)
	})
}

func TestSale_secondLinesShortageLeaksNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("apple", 4)
		s.stock("pear", 1)
		s.add("ada", "apple", 4)
		s.add("ada", "pear", 2)
		s.add("bob", "apple", 4)
		s.add("cid", "gone", 1)
		in := s.open(settings{})

		var short *inventory.NotEnoughError
		if err := in.buy("ada"); !errors.As(err, &short) {
			t.Fatalf("answered %v, want a shortage", err)
		}
		want(t, "shortage", *short, inventory.NotEnoughError{ProductID: "pear", Wanted: 2, Available: 1})
		want(t, "holds", s.number("SELECT COUNT(*) FROM reserve_purchase"), 0)
		want(t, "ada's cart", s.inCart("ada"), "apple×4 pear×2")
		want(t, "charges", in.till.charged.Load(), 0)
		want(t, "rows in the journal", len(s.entries(checkout.Filter{})), 0)

		if err := in.buy("cid"); !errors.As(err, &short) {
			t.Fatalf("answered %v, want a shortage", err)
		}
		want(t, "shortage of a product that is gone", *short, inventory.NotEnoughError{ProductID: "gone", Wanted: 1, Available: 0})

		wantErr(t, in.buy("bob"), nil) // all apples are free
	})
}

func TestSale_whatIsAddedDuringThePaymentStaysInTheCart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 20)
		s.stock("pen", 20)
		in := s.open(settings{})
		for client, answer := range map[string]charge{"ada": s.ledger.approve, "bob": s.ledger.decline("")} {
			s.add(client, "book", 2)
			held := in.till.hold()
			c := in.begin(client)
			held.await(t, 1)
			s.add(client, "book", 1)
			s.add(client, "pen", 4)
			held.open(answer)
			if err := c.end(); client == "ada" {
				wantErr(t, err, nil)
			} else {
				wantErr(t, err, checkout.ErrDeclined)
			}
		}
		want(t, "the cart after a sale", s.inCart("ada"), "book×1 pen×4")
		want(t, "the cart after a decline", s.inCart("bob"), "book×3 pen×4")
	})
}

func TestSale_whatIsAddedDuringThePaymentNeedNotWaitForIt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 20)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		held := in.till.hold()
		first := in.begin("ada")
		held.await(t, 1)
		s.add("ada", "book", 3)
		in.till.back()
		wantErr(t, in.buy("ada"), nil)
		if !first.waits() {
			t.Error("the first checkout has ended")
		}
		want(t, "on hand", s.onHand("book"), 17)
		held.open(s.ledger.decline("late"))
		wantErr(t, first.end(), checkout.ErrDeclined)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
	})
}

func TestSale_cartOfManyLinesIsSoldAndRestoredWhole(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const lines = 600 // more than adds may make, as a put-back may
		products := map[string]int64{}
		var added []cart.ClientLine
		for i := range lines {
			product := fmt.Sprintf("p%03d", i)
			products[product] = 10
			added = append(added, cart.ClientLine{ClientID: "ada", Line: inventory.Line{ProductID: product, Quantity: int64(i%3 + 1)}})
		}
		s.stockAll(products)
		s.addAll(added...)
		before := s.inCart("ada")
		in := s.open(settings{})

		in.till.charges(s.ledger.decline("first"))
		wantErr(t, in.buy("ada"), checkout.ErrDeclined)
		want(t, "the cart after a decline", s.inCart("ada"), before)

		in.till.back()
		wantErr(t, in.buy("ada"), nil)
		want(t, "the cart after the sale", s.inCart("ada"), "")
		want(t, "lines in the journal", shown(s.entries(checkout.Filter{State: checkout.Committed})[0].Lines), before)
	})
}

func TestSale_checkoutCanBeShown(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 1)
		s.add("ada", "book", 1)
		in := s.open(settings{})
		wantErr(t, in.buy("ada"), nil)
		e := s.entry("ada")
		shown, err := in.Show(t.Context(), e.CheckoutID)
		if diff := cmp.Diff(e, shown); err != nil || diff != "" {
			t.Errorf("shown (-want +got), error %v:\n%s", err, diff)
		}
		_, err = in.Show(t.Context(), "nothing")
		wantErr(t, err, checkout.ErrNotFound)
	})
}

package checkout_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"cartwheel/checkout"
	"cartwheel/payment"
)

func TestRefund_paidCheckoutWhoseStockWasLoweredIsRefunded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.stock("pen", 5)
		s.add("ada", "book", 2)
		s.add("ada", "pen", 3)
		in := s.open(settings{})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)
		s.lower("pen", 3)
		refund := in.till.gate(false)
		in.till.refunds(func(ctx context.Context, id string) (payment.Result, error) {
			switch in.till.refunded.Load() {
			case 1:
				return payment.Result{}, errLost
			case 2:
				return payment.Result{Status: payment.Refused, Reason: "not now"}, nil
			}
			if err := refund.pass(ctx, id); err != nil {
				return payment.Result{}, err
			}
			return s.ledger.refund(ctx, id)
		})
		held.open(s.ledger.approve)

		refund.await(t, 1) // asked a third time
		e := s.entry("ada")
		want(t, "state", e.State, checkout.Refunding)
		want(t, "books held", s.held("book"), 0)
		want(t, "pens held", s.held("pen"), 0)
		want(t, "ada's cart", s.inCart("ada"), "")
		want(t, "books on hand", s.onHand("book"), 5)
		if !ada.waits() {
			t.Error("the checkout was answered before it ended")
		}
		s.stock("pen", 3) // too late: nothing leaves refunding for committed

		refund.open(nil)
		wantErr(t, ada.end(), checkout.ErrRefunded)
		e = s.entry("ada")
		want(t, "state", e.State, checkout.RolledBack)
		want(t, "reason", strings.HasPrefix(e.Reason, "refunded: "), true)
		want(t, "refunded", s.ledger.of(e.CheckoutID).refunded, true)
		want(t, "ada's cart", s.inCart("ada"), "book×2 pen×3")
		want(t, "pens on hand", s.onHand("pen"), 5)
	})
}

func TestRefund_productThatIsGoneIsRefundedAsWell(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 2)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)
		s.exec("DELETE FROM product_details WHERE product_id = 'book'")
		held.open(s.ledger.approve)
		wantErr(t, ada.end(), checkout.ErrRefunded)
		want(t, "rows of the product", s.number("SELECT COUNT(*) FROM product_details"), 0)
		s.stock("book", 0)
		s.mu.Lock()
		s.stocked["book"] = 0 // they went with the row
		s.mu.Unlock()
	})
}

func TestRefund_stockThatWasLoweredIsSoldAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 4)
		s.add("ada", "book", 2)
		s.add("bob", "book", 2)
		in := s.open(settings{})
		held := in.till.hold()
		ada, bob := in.begin("ada"), in.begin("bob")
		held.await(t, 2)
		s.lower("book", 1)
		held.open(s.ledger.approve)
		first, second := ada.end(), bob.end()
		if (first == nil) == (second == nil) {
			t.Errorf("answered %v and %v, want one sale", first, second)
		}
		wantErr(t, errors.Join(first, second), checkout.ErrRefunded)
		want(t, "on hand", s.onHand("book"), 1)
	})
}

func TestRefund_declineNeedsNoRefundWhenStockWasLowered(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 4)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)
		s.lower("book", 4)
		held.open(s.ledger.decline(""))
		wantErr(t, ada.end(), checkout.ErrDeclined)
		want(t, "refunds", in.till.refunded.Load(), 0)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
	})
}

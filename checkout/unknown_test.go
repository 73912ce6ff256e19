package checkout_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/payment"
)

func TestUnknownPayment_paymentWhoseOutcomeIsUnknownIsVoided(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		in.till.charges(lose)

		var voided *checkout.ReasonError
		if err := in.buy("ada"); !errors.As(err, &voided) || voided.Reason == "" {
			t.Errorf("answered %v, want that the payment was voided, and why", err)
		}
		e := s.entry("ada")
		want(t, "state", e.State, checkout.RolledBack)
		want(t, "voided", s.ledger.of(e.CheckoutID).voided, true)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
		want(t, "held", s.held("book"), 0)

		late, err := s.ledger.approve(t.Context(), payment.Order{CheckoutID: e.CheckoutID})
		if err != nil || late.Status != payment.Voided {
			t.Errorf("the charge that arrives late is answered %v, %v", late, err)
		}
	})
}

func TestUnknownPayment_paymentThatTakesTooLongIsVoided(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{Config: checkout.Config{PaymentTimeout: 50 * time.Millisecond}})
		in.till.hold()
		wantErr(t, in.buy("ada"), checkout.ErrUnpaid)
		want(t, "voids", in.till.voided.Load(), 1)
	})
}

func TestUnknownPayment_paymentIsWaitedForNoLongerThanTheLease(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		const lease = 10 * time.Second
		in := s.open(settings{Config: checkout.Config{Lease: lease}})
		in.till.charges(func(ctx context.Context, _ payment.Order) (payment.Result, error) {
			if end, ok := ctx.Deadline(); !ok || time.Until(end) > lease {
				t.Errorf("the charge may take until %v, the lease is %v", end, lease)
			}
			return payment.Result{}, errLost
		})
		in.till.voids(func(ctx context.Context, id string) (payment.Result, error) {
			if end, ok := ctx.Deadline(); !ok || time.Until(end) > lease {
				t.Errorf("the void may take until %v, the lease is %v", end, lease)
			}
			return s.ledger.void(ctx, id)
		})
		wantErr(t, in.buy("ada"), checkout.ErrUnpaid)
	})
}

func TestUnknownPayment_unknownPaymentThatProvesChargedIsASale(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		in.till.charges(s.ledger.captureAndLose)
		wantErr(t, in.buy("ada"), nil)
		want(t, "state", s.entry("ada").State, checkout.Committed)
		want(t, "voids", in.till.voided.Load(), 1)
	})
}

func TestUnknownPayment_stockStaysReservedUntilTheVoidIsAnswered(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		in.till.away()

		var pending *checkout.PendingError
		if err := in.beginWithin(300*time.Millisecond, "ada", "").end(); !errors.As(err, &pending) {
			t.Fatalf("answered %v, want that it is pending", err)
		}
		eventually(t, "the void is asked for again", func() bool { return in.till.voided.Load() > 2 })
		e := s.entry("ada")
		want(t, "the checkout that is pending", pending.CheckoutID, e.CheckoutID)
		want(t, "state", e.State, checkout.Reserved)
		want(t, "held", s.held("book"), 2)
		want(t, "ada's cart", s.inCart("ada"), "")

		in.till.back()
		s.quiet()
		want(t, "state", s.entry("ada").State, checkout.RolledBack)
		want(t, "held", s.held("book"), 0)
	})
}

func TestUnknownPayment_answerThatIsNoneIsUnknown(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		in.till.charges(func(ctx context.Context, order payment.Order) (payment.Result, error) {
			_, err := s.ledger.approve(ctx, order)
			return payment.Result{Status: "perhaps"}, err
		})
		wantErr(t, in.buy("ada"), nil) // the void proves it charged
		want(t, "voids", in.till.voided.Load(), 1)
	})
}

func TestUnknownPayment_voidWithoutASenseIsAskedAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		in.till.charges(lose)
		in.till.voids(func(ctx context.Context, id string) (payment.Result, error) {
			if in.till.voided.Load() < 3 {
				return payment.Result{Status: payment.Declined}, nil
			}
			return s.ledger.void(ctx, id)
		})
		wantErr(t, in.buy("ada"), checkout.ErrUnpaid)
		want(t, "voids", in.till.voided.Load(), 3)
	})
}

func TestUnknownPayment_chargeOfAVoidedPaymentIsNoSale(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		in.till.charges(func(ctx context.Context, order payment.Order) (payment.Result, error) {
			if _, err := s.ledger.void(ctx, order.CheckoutID); err != nil {
				return payment.Result{}, err
			}
			return s.ledger.approve(ctx, order)
		})
		wantErr(t, in.buy("ada"), checkout.ErrUnpaid)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
	})
}

func TestUnknownPayment_whatWasNeverSentIsRolledBackWithoutAVoid(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		in.till.away().charges(neverSend)
		wantErr(t, in.buy("ada"), checkout.ErrUnpaid)
		want(t, "voids", in.till.voided.Load(), 0)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
		want(t, "held", s.held("book"), 0)
	})
}

func TestUnknownPayment_nothingIsBegunWhileTheGatewayIsUnavailable(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		in.till.refuse(payment.ErrUnavailable)
		wantErr(t, in.buy("ada"), payment.ErrUnavailable)
		want(t, "rows in the journal", len(s.entries(checkout.Filter{})), 0)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
		now, _ := in.InFlight()
		want(t, "in flight", now, 0)
		in.till.available(nil)
		wantErr(t, in.buy("ada"), nil)
	})
}

package checkout_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/inventory"
)

// beginPurchase asks for a checkout with all of a purchase's fields.
func (in *instance) beginPurchase(p cart.Purchase) *call {
	ctx, hangUp := context.WithTimeout(context.Background(), patience)
	c := &call{t: in.s.t, done: make(chan struct{}), hangUp: hangUp}
	go func() {
		defer hangUp()
		c.id, c.err = in.CheckOut(ctx, p)
		close(c.done)
	}()
	return c
}

func TestCheckOut_everyAnswerHasTheCheckoutsID(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.open(settings{})
		for client, answer := range map[string]charge{
			"sold": s.ledger.approve, "declined": s.ledger.decline("no"), "unpaid": neverSend,
		} {
			s.add(client, "book", 1)
			held := in.till.hold()
			first, repeat := in.beginKeyed(client, "key"), in.beginKeyed(client, "key")
			held.await(t, 1)
			late := in.beginWithin(time.Second, client, "key")
			wantErr(t, late.end(), checkout.ErrPending)
			held.open(answer)
			_ = first.end()
			_ = repeat.end()
			id := s.entries(checkout.Filter{ClientID: client})[0].CheckoutID
			for name, c := range map[string]*call{"the first": first, "a waiting repeat": repeat, "a pending repeat": late} {
				want(t, client+": ID of "+name, c.id, id)
			}
			if client != "unpaid" { // its key is free again
				later := in.beginKeyed(client, "key")
				_ = later.end()
				want(t, client+": ID of a later repeat", later.id, id)
			}
		}
		empty := in.begin("nobody")
		wantErr(t, empty.end(), cart.ErrEmpty)
		want(t, "ID without a checkout", empty.id, "")
	})
}

// The reference comes back to the shop from every place that knows the checkout.
func TestCheckOut_referenceReachesJournalPaymentAndRecovery(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.open(settings{})
		s.add("ann", "book", 1)
		c := in.beginPurchase(cart.Purchase{ClientID: "ann", Reference: "order~7"})
		wantErr(t, c.end(), nil)
		want(t, "reference in the journal", s.entry("ann").Reference, "order~7")
		want(t, "reference at the payment service", s.ledger.of(c.id).order.Reference, "order~7")
	})
}

func TestCheckOut_keyWithAnotherReferenceOrIfMatchIsRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.open(settings{})
		s.add("ann", "book", 1)
		first := cart.Purchase{ClientID: "ann", Key: "key", Reference: "1", IfMatch: cart.AnyETag}
		wantErr(t, in.beginPurchase(first).end(), nil)
		for _, other := range []cart.Purchase{
			{ClientID: "ann", Key: "key"},
			{ClientID: "ann", Key: "key", Reference: "1"},
			{ClientID: "ann", Key: "key", IfMatch: cart.AnyETag},
			{ClientID: "ann", Key: "key", Reference: "2", IfMatch: cart.AnyETag},
			{ClientID: "ann", Key: "key", Reference: cart.AnyETag, IfMatch: "1"},
		} {
			wantErr(t, in.beginPurchase(other).end(), idempotency.ErrMismatch)
		}
		wantReplay(t, in.beginPurchase(first).end(), nil)
	})
}

// Spree issue 11801: a line was added in another tab between the summary and the payment.
func TestCheckOut_ifMatchBuysExactlyWhatWasSeen(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		in := s.open(settings{})
		s.add("ann", "book", 1)
		seen := cart.ETag([]inventory.Line{{ProductID: "book", Quantity: 1}})
		s.add("ann", "book", 1)
		stale := cart.Purchase{ClientID: "ann", Key: "key", IfMatch: seen}
		wantErr(t, in.beginPurchase(stale).end(), cart.ErrChanged)
		wantReplay(t, in.beginPurchase(stale).end(), cart.ErrChanged) // also when the cart is as it was again
		want(t, "cart", s.inCart("ann"), "book×2")
		want(t, "captures", s.ledger.captures(), 0)

		now := cart.ETag([]inventory.Line{{ProductID: "book", Quantity: 2}})
		wantErr(t, in.beginPurchase(cart.Purchase{ClientID: "ann", IfMatch: seen + "," + now}).end(), nil)
		want(t, "sold", shown(s.entry("ann").Lines), "book×2")
	})
}

// The order of refusals: checkout under way, empty cart, If-Match, stock.
func TestCheckOut_ifMatchIsComparedAfterEmptyAndBeforeStock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 1)
		in := s.open(settings{})
		wantErr(t, in.beginPurchase(cart.Purchase{ClientID: "ann", IfMatch: "other"}).end(), cart.ErrEmpty)
		s.add("ann", "book", 2)
		wantErr(t, in.beginPurchase(cart.Purchase{ClientID: "ann", IfMatch: "other"}).end(), cart.ErrChanged)
		wantErr(t, in.beginPurchase(cart.Purchase{ClientID: "ann", IfMatch: cart.AnyETag}).end(), inventory.ErrNotEnough)
	})
}

func TestETag_dependsOnProductsAndQuantitiesAlone(t *testing.T) {
	t.Parallel()
	tags := map[string]bool{}
	for _, lines := range [][]inventory.Line{
		nil,
		{{ProductID: "a", Quantity: 1}},
		{{ProductID: "a", Quantity: 2}},
		{{ProductID: "b", Quantity: 1}},
		{{ProductID: "a", Quantity: 1}, {ProductID: "b", Quantity: 1}},
		{{ProductID: "ab", Quantity: 1}},
	} {
		tag := cart.ETag(lines)
		if tags[tag] || tag != cart.ETag(lines) || strings.ContainsAny(tag, "\", ") {
			t.Errorf("the tag of %v is %q", lines, tag)
		}
		tags[tag] = true
	}
}

// A checkout whose owner was killed is voided by recovery, which knows the reference as well.
func TestRecovery_keepsTheReference(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		first := s.open(settings{idle: true})
		s.add("ann", "book", 1)
		held := first.till.hold()
		c := first.beginPurchase(cart.Purchase{ClientID: "ann", Reference: "order~8"})
		held.await(t, 1)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		first.Drain(ctx)
		if err := c.end(); !errors.Is(err, checkout.ErrPending) {
			t.Fatalf("answered %v", err)
		}
		s.open(settings{till: s.ledger.till()})
		eventually(t, "it is settled", func() bool { return s.entry("ann").State.Settled() })
		want(t, "reference", s.entry("ann").Reference, "order~8")
		want(t, "payment", s.ledger.of(c.id).voided, true)
	})
}

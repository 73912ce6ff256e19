package e2e

import (
	"context"
	"math/rand/v2"
	"net/http"
	"testing"

	"cartwheel/checkout"
	"cartwheel/database/databasetest/proxy"
)

// A cancelPoint is a boundary in the flow of a cancellation at which the process is killed.
type cancelPoint struct {
	name      string
	mysqlOnly bool // the embedded engine has no such boundary that can be held from outside
	// reach brings the cancellation to the boundary and kills the one who is there.
	reach func(*cancelCrash)
	left  checkout.State // what the journal says then
	end   checkout.State // what recovery makes of it
}

// cancelPoints are in the order of the flow.
var cancelPoints = []cancelPoint{
	{
		name: "before it begins, waiting for the journal", left: checkout.Committed, end: checkout.Committed,
		reach: func(p *cancelCrash) {
			p.killWaiting("SELECT 1 FROM checkout_journal WHERE client_id = 'ann' FOR UPDATE", p.cancel)
		},
	},
	{
		name: "the first COMMIT never arrives", mysqlOnly: true, left: checkout.Committed, end: checkout.Committed,
		reach: func(p *cancelCrash) { p.killAtCommit(p.owner, dropped, p.cancel) },
	},
	{
		name: "the first COMMIT arrives after its sender's end", mysqlOnly: true, left: checkout.Cancelling, end: checkout.Cancelled,
		reach: func(p *cancelCrash) { p.killAtCommit(p.owner, delivered, p.cancel) },
	},
	{
		name: "before the refund", left: checkout.Cancelling, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			refund := p.owner.interceptor.before(p.t, http.MethodPost)
			p.cancel()
			refund.await(soon)
			p.kill(p.owner.instance)
		},
	},
	{
		name: "between the refund and its answer", left: checkout.Cancelling, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			p.refunded()
			p.kill(p.owner.instance)
		},
	},
	{
		name: "before the restock, waiting for the product", left: checkout.Cancelling, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			refund := p.refunded()
			p.killWaiting("SELECT 1 FROM product_details WHERE product_id = 'lamp' FOR UPDATE", refund.letGo)
		},
	},
	{
		name: "after the restock, waiting for the journal", mysqlOnly: true, left: checkout.Cancelling, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			refund := p.refunded()
			p.killWaiting("SELECT 1 FROM checkout_journal WHERE client_id = 'ann' FOR UPDATE", refund.letGo)
		},
	},
	{
		name: "the last COMMIT never arrives", mysqlOnly: true, left: checkout.Cancelling, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			refund := p.refunded()
			p.killAtCommit(p.owner, dropped, refund.letGo)
		},
	},
	{
		name: "the last COMMIT arrives after its sender's end", mysqlOnly: true, left: checkout.Cancelled, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			refund := p.refunded()
			p.killAtCommit(p.owner, delivered, refund.letGo)
		},
	},
	{
		name: "after the last COMMIT, its caller is gone", left: checkout.Cancelled, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			refund := p.refunded()
			p.hangUp()
			refund.letGo()
			p.await(checkout.Cancelled)
			p.kill(p.owner.instance)
		},
	},
	{
		name: "recovery asks for the refund", left: checkout.Cancelling, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			p.refunded()
			var refund *stop
			heir := p.succeed(func(g *interceptor) { refund = g.before(p.t, http.MethodPost) })
			refund.await(lease + soon)
			p.kill(heir.instance)
		},
	},
	{
		name: "recovery has the refund", left: checkout.Cancelling, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			first := p.owner.interceptor.before(p.t, http.MethodPost)
			p.cancel()
			first.await(soon)
			var refund *stop
			heir := p.succeed(func(g *interceptor) { refund = g.after(p.t, http.MethodPost) })
			refund.await(lease + soon)
			p.kill(heir.instance)
		},
	},
	{
		name: "recovery's last COMMIT never arrives", mysqlOnly: true, left: checkout.Cancelling, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			p.refunded()
			heir := p.start()
			heir.proxy.Next(proxy.Deliver()) // the claim
			p.killAtCommit(heir, dropped, func() { p.kill(p.owner.instance) })
		},
	},
	{
		name: "recovery's last COMMIT arrives after its sender's end", mysqlOnly: true, left: checkout.Cancelled, end: checkout.Cancelled,
		reach: func(p *cancelCrash) {
			p.refunded()
			heir := p.start()
			heir.proxy.Next(proxy.Deliver())
			p.killAtCommit(heir, delivered, func() { p.kill(p.owner.instance) })
		},
	},
}

func TestCancel_killAtEachStepRestocksOnce(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		for _, point := range cancelPoints {
			if point.mysqlOnly && s.config.MySQLDSN == "" {
				continue
			}
			for range shortOrLong(1, 5) {
				t.Run(point.name, func(t *testing.T) {
					t.Parallel()
					crashCancelling(t, s.another(t), point)
				})
			}
		}
	})
}

// A cancelCrash is the cancellation of ann's checkout on its way to a boundary.
type cancelCrash struct {
	*crash
	checkoutID string
}

// crashCancelling sells two lamps of ten, takes their cancellation to the boundary, and recovery to
// the end.
func crashCancelling(t *testing.T, s store, point cancelPoint) {
	t.Helper()
	p := &cancelCrash{crash: &crash{
		chaos: newChaos(t, s, map[string]int{"lamp": 10}), manualSQL: s.manualSQL(t), client: "ann", answered: make(chan reply, 1),
	}}
	p.owner = p.start()
	p.shoppers.visits(p.owner.instance)
	random := rand.New(rand.NewPCG(1, 1))
	if got := p.shoppers.add(t.Context(), random, "ann", "lamp", 2, ""); got.Code != 200 {
		t.Fatalf("add: %v", got)
	}
	if got := p.shoppers.buy(t.Context(), random, "ann", "the-one"); got.Code != 200 {
		t.Fatalf("buy: %v", got)
	}
	p.checkoutID = p.store.snapshot(t).checkouts[0].CheckoutID

	point.reach(p)
	if got := <-p.answered; got.Code != 0 {
		t.Fatalf("the caller was answered %v: the kill came too late", got)
	}
	p.is("after the kill", point.left)
	rescuer := p.chaos.start(p.flags()...)
	p.shoppers.visits(rescuer)
	p.settle()
	for _, g := range p.interceptors {
		g.letGo() // what was under way when its sender died comes to the payment service now
	}
	p.is("in the end", point.end)
	for range 2 { // a repeat ends what had not begun, and changes nothing else
		rescuer.want(t, 200, cancellation(p.checkoutID))
		p.is("after a repeat", checkout.Cancelled)
	}
	rescuer.want(t, 200, purchase("ann").withKey("the-one")) // a repeat of the checkout
	if totals := p.payments.Totals(); totals.Captures != 1 || totals.Refunded != 1 {
		t.Errorf("the payment service took money %d times and gave it back %d times, want once each", totals.Captures, totals.Refunded)
	}
	p.check()
}

// is checks what the journal says, and that on hand agrees.
func (p *cancelCrash) is(when string, state checkout.State) {
	p.t.Helper()
	b := p.store.snapshot(p.t)
	onHand := int64(8)
	if state == checkout.Cancelled {
		onHand = 10
	}
	if got := b.checkouts[0].State; got != state || b.onHand["lamp"] != onHand {
		p.t.Errorf("%s the journal says %q and %d are on hand, want %q and %d", when, got, b.onHand["lamp"], state, onHand)
	}
}

// cancel sends the cancellation and returns at once.
func (p *cancelCrash) cancel() {
	ctx, hangUp := context.WithCancel(context.Background())
	p.hangUp = hangUp
	p.t.Cleanup(hangUp)
	p.requests.Add(1)
	go func() { p.answered <- p.owner.send(ctx, cancellation(p.checkoutID)) }()
}

// refunded brings the cancellation to where the payment service has refunded and not answered.
func (p *cancelCrash) refunded() *stop {
	p.t.Helper()
	refund := p.owner.interceptor.after(p.t, http.MethodPost)
	p.cancel()
	refund.await(soon)
	return refund
}

package e2e

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/database/databasetest/proxy"
)

// A crashPoint is a boundary in the flow of a checkout at which the process is killed.
type crashPoint struct {
	name      string
	mysqlOnly bool   // the embedded engine has no such boundary that can be held from outside
	client    string // "": ann, whom the payment service does not decline
	deaf      bool   // the payment service reads nothing
	// reach brings ann's checkout to the boundary and kills the one who is there.
	reach func(*crash)
	left  checkout.State // what the journal says then; empty: nothing
	end   checkout.State // what recovery makes of it; empty: nothing
	next  int            // what another checkout of the cart is answered after all
}

// crashPoints are in the order of the flow.
var crashPoints = []crashPoint{
	{
		name: "before TX 1, waiting for the product", next: 409,
		reach: func(p *crash) {
			p.killWaiting("SELECT 1 FROM product_details WHERE product_id = 'lamp' FOR UPDATE", p.buy)
		},
	},
	{
		name: "before TX 1, waiting for the cart", mysqlOnly: true, next: 409,
		reach: func(p *crash) { p.killWaiting("SELECT 1 FROM client_cart WHERE client_id = 'ann' FOR UPDATE", p.buy) },
	},
	{
		name: "TX 1's COMMIT never arrives", mysqlOnly: true, next: 409,
		reach: func(p *crash) { p.killAtCommit(p.owner, dropped, p.buy) },
	},
	{
		name: "TX 1's COMMIT arrives after its sender's end", mysqlOnly: true, left: checkout.Reserved, end: checkout.RolledBack, next: 200,
		reach: func(p *crash) { p.killAtCommit(p.owner, delivered, p.buy) },
	},
	{
		name: "after TX 1, the charge is read by no client", deaf: true, left: checkout.Reserved, end: checkout.RolledBack, next: 200,
		reach: func(p *crash) {
			p.buy()
			p.await(checkout.Reserved)
			p.kill(p.owner.instance)
		},
	},
	{
		name: "before the charge, which comes to the payment service after the void", left: checkout.Reserved, end: checkout.RolledBack, next: 200,
		reach: func(p *crash) {
			charge := p.owner.interceptor.before(p.t, http.MethodPut)
			p.buy()
			charge.await(soon)
			p.kill(p.owner.instance)
		},
	},
	{
		name: "between the charge and its answer", left: checkout.Reserved, end: checkout.Committed, next: 409,
		reach: func(p *crash) {
			p.charged()
			p.kill(p.owner.instance)
		},
	},
	{
		name: "between a decline and its answer", client: "decline-ann", left: checkout.Reserved, end: checkout.RolledBack, next: 402,
		reach: func(p *crash) {
			p.charged()
			p.kill(p.owner.instance)
		},
	},
	{
		name: "before TX 2, waiting for the product", left: checkout.Reserved, end: checkout.Committed, next: 409,
		reach: func(p *crash) {
			charge := p.charged()
			p.killWaiting("SELECT 1 FROM product_details WHERE product_id = 'lamp' FOR UPDATE", charge.letGo)
		},
	},
	{
		name: "in TX 2, waiting for the journal", mysqlOnly: true, left: checkout.Reserved, end: checkout.Committed, next: 409,
		reach: func(p *crash) {
			charge := p.charged()
			p.killWaiting("SELECT 1 FROM checkout_journal WHERE client_id = 'ann' FOR UPDATE", charge.letGo)
		},
	},
	{
		name: "before TX 2 of a decline, waiting for the cart", client: "decline-ann", left: checkout.Reserved, end: checkout.RolledBack, next: 402,
		reach: func(p *crash) {
			charge := p.charged()
			p.killWaiting("INSERT INTO client_cart VALUES ('decline-ann', 'lamp', 1)", charge.letGo)
		},
	},
	{
		name: "TX 2's COMMIT never arrives", mysqlOnly: true, left: checkout.Reserved, end: checkout.Committed, next: 409,
		reach: func(p *crash) {
			charge := p.charged()
			p.killAtCommit(p.owner, dropped, charge.letGo)
		},
	},
	{
		name: "TX 2's COMMIT arrives after its sender's end", mysqlOnly: true, left: checkout.Committed, end: checkout.Committed, next: 409,
		reach: func(p *crash) {
			charge := p.charged()
			p.killAtCommit(p.owner, delivered, charge.letGo)
		},
	},
	{
		name: "a decline's TX 2's COMMIT arrives after its sender's end", mysqlOnly: true, client: "decline-ann",
		left: checkout.RolledBack, end: checkout.RolledBack, next: 402,
		reach: func(p *crash) {
			charge := p.charged()
			p.killAtCommit(p.owner, delivered, charge.letGo)
		},
	},
	{
		name: "after TX 2, its caller is gone", left: checkout.Committed, end: checkout.Committed, next: 409,
		reach: func(p *crash) {
			charge := p.charged()
			p.hangUp()
			charge.letGo()
			p.await(checkout.Committed)
			p.kill(p.owner.instance)
		},
	},
	{
		name: "recovery asks for the void", left: checkout.Reserved, end: checkout.Committed, next: 409,
		reach: func(p *crash) {
			p.charged()
			var void *stop
			heir := p.succeed(func(g *interceptor) { void = g.before(p.t, http.MethodDelete) })
			void.await(lease + soon)
			p.kill(heir.instance)
		},
	},
	{
		name: "recovery has the void", left: checkout.Reserved, end: checkout.RolledBack, next: 200,
		reach: func(p *crash) {
			charge := p.owner.interceptor.before(p.t, http.MethodPut)
			p.buy()
			charge.await(soon)
			var void *stop
			heir := p.succeed(func(g *interceptor) { void = g.after(p.t, http.MethodDelete) })
			void.await(lease + soon)
			p.kill(heir.instance)
		},
	},
	{
		name: "recovery's claim is committed after its sender's end", mysqlOnly: true, left: checkout.Reserved, end: checkout.Committed, next: 409,
		reach: func(p *crash) {
			heir := p.start() // before the charge, whose answer is waited for only so long
			p.charged()
			p.killAtCommit(heir, delivered, func() { p.kill(p.owner.instance) })
		},
	},
	{
		name: "recovery's TX 2's COMMIT never arrives", mysqlOnly: true, left: checkout.Reserved, end: checkout.Committed, next: 409,
		reach: func(p *crash) {
			heir := p.start() // before the charge, whose answer is waited for only so long
			p.charged()
			heir.proxy.Next(proxy.Deliver()) // the claim
			p.killAtCommit(heir, dropped, func() { p.kill(p.owner.instance) })
		},
	},
	{
		name: "recovery's TX 2's COMMIT arrives after its sender's end", mysqlOnly: true, left: checkout.Committed, end: checkout.Committed, next: 409,
		reach: func(p *crash) {
			heir := p.start() // before the charge, whose answer is waited for only so long
			p.charged()
			heir.proxy.Next(proxy.Deliver())
			p.killAtCommit(heir, delivered, func() { p.kill(p.owner.instance) })
		},
	},
	{
		name: "before the refund", left: checkout.Refunding, end: checkout.RolledBack, next: 409,
		reach: func(p *crash) {
			refund := p.owner.interceptor.before(p.t, http.MethodPost)
			charge := p.charged()
			p.lowerStock(1)
			charge.letGo()
			refund.await(soon)
			p.kill(p.owner.instance)
		},
	},
	{
		name: "between the refund and its answer", left: checkout.Refunding, end: checkout.RolledBack, next: 409,
		reach: func(p *crash) {
			refund := p.owner.interceptor.after(p.t, http.MethodPost)
			charge := p.charged()
			p.lowerStock(1)
			charge.letGo()
			refund.await(soon)
			p.kill(p.owner.instance)
		},
	},
}

func TestKill_atEachBoundaryOfACheckout(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		for _, point := range crashPoints {
			if point.mysqlOnly && s.config.MySQLDSN == "" {
				continue
			}
			for range shortOrLong(1, 5) {
				t.Run(point.name, func(t *testing.T) {
					t.Parallel()
					attack(t, s.another(t), point)
				})
			}
		}
	})
}

// lease is that of the instances at crash points: the shortest for a charge that may take a second.
const lease = 3 * time.Second

// A crash is one checkout on its way to a boundary.
type crash struct {
	*chaos
	manualSQL    *manualSQL
	owner        doomed // the one who begins the checkout
	point        crashPoint
	client       string
	interceptors []*interceptor
	answered     chan reply
	hangUp       context.CancelFunc // of the caller
}

// A doomed instance reaches the payment service through an interceptor and its MySQL server through
// a proxy: it is to be killed.
type doomed struct {
	*instance
	interceptor *interceptor
	proxy       *proxy.Proxy // nil on the embedded engine
}

// attack takes a checkout of two lamps to the boundary, and recovery to the end.
func attack(t *testing.T, s store, point crashPoint) {
	const key = "the-one"
	p := &crash{
		chaos: newChaos(t, s, map[string]int{"lamp": 10}), manualSQL: s.manualSQL(t), point: point,
		client: "ann", answered: make(chan reply, 1),
	}
	if point.client != "" {
		p.client = point.client
	}
	p.owner = p.start()
	p.shoppers.visits(p.owner.instance)
	random := rand.New(rand.NewPCG(1, 1))
	if got := p.shoppers.add(t.Context(), random, p.client, "lamp", 2, ""); got.Code != 200 {
		t.Fatalf("add: %v", got)
	}

	point.reach(p)
	if got := <-p.answered; got.Code != 0 {
		t.Fatalf("the caller was answered %v: the kill came too late", got)
	}
	if got := p.state(); got != point.left {
		t.Errorf("after the kill the journal says %q, want %q", got, point.left)
	}

	rescuer := p.chaos.start(p.flags()...)
	p.shoppers.visits(rescuer)
	p.settle()
	for _, g := range p.interceptors {
		g.letGo() // what was under way when its sender died comes to the payment service now
	}
	if got := p.state(); got != point.end {
		t.Errorf("in the end the journal says %q, want %q", got, point.end)
	}
	want, next := 200, point.next
	switch {
	case point.left == checkout.Refunding:
		want = 409
	case point.next == 402:
		want = 402
	case point.end == checkout.RolledBack:
		next = 409 // the void freed the key: the repeat buys the cart
	}
	if got := p.shoppers.buy(t.Context(), random, p.client, key); got.Code != want {
		t.Errorf("the repeat was answered %v, want %d", got, want)
	}
	if got := p.shoppers.buy(t.Context(), random, p.client, ""); got.Code != next {
		t.Errorf("another checkout of the cart was answered %v, want %d", got, next)
	}
	if point.left == checkout.Refunding {
		if totals := p.payments.Totals(); totals.Captures != 1 || totals.Refunded != 1 {
			t.Errorf("the payment service took money %d times and gave it back %d times, want once each", totals.Captures, totals.Refunded)
		}
	}
	p.check()
}

func (p *crash) flags() []string {
	return []string{"--payment-timeout", "1s", "--checkout-lease", lease.String()}
}

// start starts an instance that is doomed.
func (p *crash) start() doomed {
	p.t.Helper()
	return p.startBehind(startInterceptor(p.t, p.payments))
}

func (p *crash) startBehind(g *interceptor) doomed {
	p.t.Helper()
	d := doomed{interceptor: g}
	p.interceptors = append(p.interceptors, g)
	flags := append(p.flags(), "--payment-url", g.url)
	if p.point.deaf {
		flags = append(flags, "--payment-url", deaf(p.t))
	}
	if p.manualSQL.flavour != "" {
		var dsn string
		d.proxy, dsn = p.store.through(p.t)
		flags = append(flags, "--mysql-dsn", dsn)
	}
	d.instance = p.chaos.start(flags...)
	return d
}

// succeed kills the owner and starts the instance that recovers from it, behind an interceptor that
// is prepared.
func (p *crash) succeed(prepare func(*interceptor)) doomed {
	p.t.Helper()
	p.kill(p.owner.instance)
	g := startInterceptor(p.t, p.payments)
	prepare(g)
	return p.startBehind(g)
}

// buy sends the checkout and returns at once.
func (p *crash) buy() {
	ctx, hangUp := context.WithCancel(context.Background())
	p.hangUp = hangUp
	p.t.Cleanup(hangUp)
	p.requests.Add(1)
	go func() { p.answered <- p.owner.send(ctx, purchase(p.client).withKey("the-one")) }()
}

// charged brings the checkout to where the payment service has decided and not answered.
func (p *crash) charged() *stop {
	p.t.Helper()
	charge := p.owner.interceptor.after(p.t, http.MethodPut)
	p.buy()
	charge.await(soon)
	return charge
}

// lowerStock leaves that many lamps on hand, whatever is held.
func (p *crash) lowerStock(lamps int) {
	p.t.Helper()
	p.manualSQL.exec("UPDATE product_details SET quantity = ? WHERE product_id = 'lamp'", lamps)
	p.stocked["lamp"] = lamps
}

// killWaiting goes on and kills the owner when it waits for what the statement locks.
func (p *crash) killWaiting(statement string, letGo func()) {
	p.t.Helper()
	release := p.manualSQL.lock(statement)
	letGo()
	p.manualSQL.awaitWaiter()
	p.kill(p.owner.instance)
	release()
}

const (
	dropped   = false
	delivered = true
)

// killAtCommit goes on and kills an instance when it has sent the next COMMIT, which is then
// delivered or dropped.
func (p *crash) killAtCommit(d doomed, arrives bool, letGo func()) {
	p.t.Helper()
	release := make(chan struct{})
	d.proxy.Next(proxy.Hold(release))
	letGo()
	eventually(p.t, lease+soon, "the COMMIT is on its way", func() bool { return d.proxy.Counts().Held == 1 })
	p.kill(d.instance)
	if arrives {
		close(release)
		eventually(p.t, soon, "the COMMIT has arrived", func() bool { return d.proxy.Counts().HeldAnswered == 1 })
	} else if err := d.proxy.Close(); err != nil {
		p.t.Errorf("close the proxy: %v", err)
	}
}

// await waits until the journal has the checkout in the state.
func (p *crash) await(state checkout.State) {
	p.t.Helper()
	eventually(p.t, soon, "the checkout is "+string(state), func() bool { return p.state() == state })
}

// state is what the journal says of the client's only checkout; empty where there is none.
func (p *crash) state() checkout.State {
	p.t.Helper()
	var states []string
	for _, e := range p.store.snapshot(p.t).checkouts {
		states = append(states, string(e.State))
	}
	return checkout.State(strings.Join(states, ", "))
}

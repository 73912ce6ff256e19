package checkout_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"cartwheel/payment"
)

// errLost is what a till answers when it has no answer: the outcome is unknown.
var errLost = errors.New("the answer was lost")

// A ledger is the payment service's memory, which all instances of a shop share: what promise P is
// checked against.
type ledger struct {
	mu       sync.Mutex
	accounts map[string]*account // by checkout ID; under mu
}

// An account is what the ledger knows of one checkout.
type account struct {
	order                               payment.Order
	captured, refunded, voided, refused bool
	captures, voids, refunds            int // how often money was taken; how often the others were asked for
	reason                              string
}

func newLedger() *ledger { return &ledger{accounts: map[string]*account{}} }

// of returns a copy of what is known of a checkout.
func (l *ledger) of(id string) account {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *l.account(id)
}

func (l *ledger) account(id string) *account {
	a := l.accounts[id]
	if a == nil {
		a = &account{}
		l.accounts[id] = a
	}
	return a
}

// all returns a copy of every account.
func (l *ledger) all() map[string]account {
	l.mu.Lock()
	defer l.mu.Unlock()
	copied := make(map[string]account, len(l.accounts))
	for id, a := range l.accounts {
		copied[id] = *a
	}
	return copied
}

// captures is how often money was taken, in all.
func (l *ledger) captures() (n int) {
	for _, a := range l.all() {
		n += a.captures
	}
	return n
}

// A charge is a way to answer a charge.
type charge func(context.Context, payment.Order) (payment.Result, error)

// approve takes the money.
func (l *ledger) approve(_ context.Context, order payment.Order) (payment.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(order.CheckoutID)
	a.order = order
	switch {
	case a.voided || a.refunded:
		return payment.Result{Status: payment.Voided}, nil
	case a.refused:
		return payment.Result{Status: payment.Declined, Reason: a.reason}, nil
	case !a.captured:
		a.captured = true
		a.captures++
	}
	return payment.Result{Status: payment.Approved}, nil
}

// decline takes nothing, and says why.
func (l *ledger) decline(reason string) charge {
	return func(_ context.Context, order payment.Order) (payment.Result, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		a := l.account(order.CheckoutID)
		a.order, a.refused, a.reason = order, true, reason
		return payment.Result{Status: payment.Declined, Reason: reason}, nil
	}
}

// captureAndLose takes the money, and its answer is lost.
func (l *ledger) captureAndLose(ctx context.Context, order payment.Order) (payment.Result, error) {
	if _, err := l.approve(ctx, order); err != nil {
		return payment.Result{}, err
	}
	return payment.Result{}, errLost
}

// lose takes nothing and answers nothing.
func lose(context.Context, payment.Order) (payment.Result, error) { return payment.Result{}, errLost }

// neverSend answers that the request certainly never left.
func neverSend(context.Context, payment.Order) (payment.Result, error) {
	return payment.Result{}, fmt.Errorf("dial: %w", payment.ErrNotSent)
}

func (l *ledger) void(_ context.Context, id string) (payment.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(id)
	a.voids++
	if a.captured && !a.refunded {
		return payment.Result{Status: payment.Approved}, nil
	}
	a.voided = true
	return payment.Result{Status: payment.Voided}, nil
}

func (l *ledger) refund(_ context.Context, id string) (payment.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(id)
	a.refunds++
	if !a.captured {
		return payment.Result{Status: payment.Refused, Reason: "it was never charged"}, nil
	}
	a.refunded = true
	return payment.Result{Status: payment.Refunded}, nil
}

// A till is the gateway as one instance sees it: the shared ledger, behind behaviour that the test
// chooses. At first it approves.
type till struct {
	ledger *ledger

	mu          sync.Mutex
	onCharge    charge                                                 // nil: the ledger's; under mu
	onVoid      func(context.Context, string) (payment.Result, error)  // likewise
	onRefund    func(context.Context, string) (payment.Result, error)  // likewise
	onLookup    func(context.Context, string) (payment.Payment, error) // likewise
	onAvailable func() error                                           // likewise
	gates       []*gate                                                // under mu

	charged, voided, refunded atomic.Int64 // calls that came
}

func (l *ledger) till() *till { return &till{ledger: l} }

func (g *till) Charge(ctx context.Context, order payment.Order) (payment.Result, error) {
	g.charged.Add(1)
	g.mu.Lock()
	answer := g.onCharge
	g.mu.Unlock()
	if answer == nil {
		answer = g.ledger.approve
	}
	return answer(ctx, order)
}

func (g *till) Void(ctx context.Context, id string) (payment.Result, error) {
	g.voided.Add(1)
	g.mu.Lock()
	answer := g.onVoid
	g.mu.Unlock()
	if answer == nil {
		answer = g.ledger.void
	}
	return answer(ctx, id)
}

func (g *till) Refund(ctx context.Context, id string) (payment.Result, error) {
	g.refunded.Add(1)
	g.mu.Lock()
	answer := g.onRefund
	g.mu.Unlock()
	if answer == nil {
		answer = g.ledger.refund
	}
	return answer(ctx, id)
}

// Lookup answers from the ledger, unless the test chose another answer.
func (g *till) Lookup(ctx context.Context, id string) (payment.Payment, error) {
	g.mu.Lock()
	answer := g.onLookup
	g.mu.Unlock()
	if answer == nil {
		answer = g.ledger.lookup
	}
	return answer(ctx, id)
}

func (l *ledger) lookup(_ context.Context, id string) (payment.Payment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(id)
	found := payment.Payment{Status: payment.Unknown, Items: a.order.Items}
	switch {
	case a.refunded:
		found.Status = payment.Refunded
	case a.captured:
		found.Status = payment.Approved
	case a.voided:
		found.Status = payment.Voided
	case a.refused:
		found.Status = payment.Declined
	}
	return found, nil
}

// lookups sets how lookups are answered from now on; nil: as the ledger does.
func (g *till) lookups(answer func(context.Context, string) (payment.Payment, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.onLookup = answer
}

// noLookup answers as a payment service without lookups.
func noLookup(context.Context, string) (payment.Payment, error) {
	return payment.Payment{}, payment.ErrNoLookup
}

func (g *till) Available() error {
	g.mu.Lock()
	answer := g.onAvailable
	g.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer()
}

// charges sets how charges are answered from now on.
func (g *till) charges(answer charge) *till {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.onCharge = answer
	return g
}

// voids sets how voids are answered from now on; nil: as the ledger does.
func (g *till) voids(answer func(context.Context, string) (payment.Result, error)) *till {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.onVoid = answer
	return g
}

// refunds sets how refunds are answered from now on; nil: as the ledger does.
func (g *till) refunds(answer func(context.Context, string) (payment.Result, error)) *till {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.onRefund = answer
	return g
}

// available sets how the till says whether it is; nil: it is.
func (g *till) available(answer func() error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.onAvailable = answer
}

// refuse makes the till unavailable.
func (g *till) refuse(err error) { g.available(func() error { return err }) }

// away makes the till answer nothing from now on.
func (g *till) away() *till {
	return g.charges(lose).
		voids(func(context.Context, string) (payment.Result, error) { return payment.Result{}, errLost }).
		refunds(func(context.Context, string) (payment.Result, error) { return payment.Result{}, errLost })
}

// back makes the till answer as the ledger does.
func (g *till) back() { g.charges(nil).voids(nil).refunds(nil) }

// A gate holds calls of a till until the test lets them go on.
type gate struct {
	arrived chan string // the checkout IDs of the calls that came
	opened  chan struct{}
	once    sync.Once
	answer  charge // written before opened is closed
	deaf    bool   // it does not hear that a call's context ended, as a paused process does not
}

func (g *till) gate(deaf bool) *gate {
	held := &gate{arrived: make(chan string, 1<<14), opened: make(chan struct{}), deaf: deaf}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gates = append(g.gates, held)
	return held
}

// hold makes charges wait until the gate that it returns is opened, with the answer to them, or
// until their context ends: then their outcome is unknown.
func (g *till) hold() *gate {
	held := g.gate(false)
	g.charges(held.charge)
	return held
}

// pause is hold, but the charges do not hear that their context ends.
func (g *till) pause() *gate {
	held := g.gate(true)
	g.charges(held.charge)
	return held
}

// holdVoids makes voids wait until the gate is opened; then they are answered as the ledger does.
func (g *till) holdVoids() *gate {
	held := g.gate(false)
	g.voids(func(ctx context.Context, id string) (payment.Result, error) {
		if err := held.pass(ctx, id); err != nil {
			return payment.Result{}, err
		}
		return g.ledger.void(ctx, id)
	})
	return held
}

func (h *gate) charge(ctx context.Context, order payment.Order) (payment.Result, error) {
	if err := h.pass(ctx, order.CheckoutID); err != nil {
		return payment.Result{}, err
	}
	return h.answer(ctx, order)
}

func (h *gate) pass(ctx context.Context, id string) error {
	h.arrived <- id
	if h.deaf {
		<-h.opened
		return nil
	}
	select {
	case <-h.opened:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errLost, ctx.Err())
	}
}

// open lets the calls go on; charges get the answer.
func (h *gate) open(answer charge) {
	h.once.Do(func() {
		h.answer = answer
		close(h.opened)
	})
}

// await waits for the next n calls and returns their checkouts.
func (h *gate) await(t tester, n int) []string {
	t.Helper()
	timeout := time.After(patience)
	ids := make([]string, 0, n)
	for range n {
		select {
		case id := <-h.arrived:
			ids = append(ids, id)
		case <-timeout:
			t.Fatalf("%d calls reached the gateway, want %d", len(ids), n)
		}
	}
	return ids
}

// letGo opens every gate, with no answer.
func (g *till) letGo() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, held := range g.gates {
		held.open(lose)
	}
}

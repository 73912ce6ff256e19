package checkout_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/inventory"
	"cartwheel/payment"
)

var (
	historyProducts = []string{"apple", "book", "pen"}
	historyClients  = []string{"ada", "bob"}
)

// A history is a shop and a model of it.
type history struct {
	s    *shop
	in   []*historyInstance
	runs int // instances so far

	carts  map[units]int64
	onHand map[string]int64
	open   []*openCheckout
	sold   []*openCheckout // and not cancelled
	keys   int
	ended  bool // a checkout has, since the books were checked

	arrived chan string // checkout IDs whose charges wait
	mu      sync.Mutex
	answers map[string]chan charge // for the charges that wait; under mu

	refuses atomic.Bool // the payment service refuses refunds of cancelled checkouts
}

// maxInstances is the most instances of one history.
const maxInstances = 20

// A historyInstance is one that may die.
type historyInstance struct {
	*instance
	life *life
}

// An openCheckout is one whose charge waits.
type openCheckout struct {
	in              *historyInstance
	id, client, key string
	lines           []inventory.Line
	call            *call
	answer          chan charge
}

func (o *openCheckout) order() payment.Order {
	return payment.Order{CheckoutID: o.id, ClientID: o.client}
}

// start opens two instances whose charges wait for the history's answers. What is open is
// recovered.
func (h *history) start() {
	h.arrived = make(chan string, 1<<8)
	h.in = []*historyInstance{h.startOne(), h.startOne()}
}

func (h *history) startOne() *historyInstance {
	arrived, alive := h.arrived, newLife()
	till := h.s.ledger.till().charges(func(ctx context.Context, order payment.Order) (payment.Result, error) {
		answer := make(chan charge, 1)
		h.mu.Lock()
		h.answers[order.CheckoutID] = answer
		h.mu.Unlock()
		arrived <- order.CheckoutID
		select {
		case charge := <-answer:
			return charge(ctx, order)
		case <-ctx.Done():
			return payment.Result{}, ctx.Err()
		}
	}).mortal(alive)
	refund := till.onRefund
	till.refunds(func(ctx context.Context, id string) (payment.Result, error) {
		if h.refuses.Load() {
			return payment.Result{Status: payment.Refused, Reason: "no"}, nil
		}
		return refund(ctx, id)
	})
	h.runs++
	return &historyInstance{h.s.open(settings{till: till, stock: &watchedStock{life: alive}, carts: &watchedCarts{life: alive}}), alive}
}

// any is one of the instances.
func (h *history) any(t *rapid.T) *historyInstance {
	return rapid.SampledFrom(h.in).Draw(t, "instance")
}

func (h *history) stock(product string, quantity int64) {
	h.s.stock(product, quantity)
	h.onHand[product] += quantity
}

// held is how many units of a product the open checkouts hold.
func (h *history) held(product string) (held int64) {
	for _, o := range h.open {
		for _, line := range o.lines {
			if line.ProductID == product {
				held += line.Quantity
			}
		}
	}
	return held
}

func (h *history) linesOf(client string) (lines []inventory.Line) {
	for _, product := range historyProducts {
		if quantity := h.carts[units{client, product}]; quantity > 0 {
			lines = append(lines, inventory.Line{ProductID: product, Quantity: quantity})
		}
	}
	return lines
}

// refusal is what a checkout of these lines is refused with; nil: it begins.
func (h *history) refusal(client string, lines []inventory.Line) error {
	if len(lines) == 0 {
		if slices.ContainsFunc(h.open, func(o *openCheckout) bool { return o.client == client }) {
			return cart.ErrCheckoutUnderWay
		}
		return cart.ErrEmpty
	}
	for _, line := range lines {
		if available := max(0, h.onHand[line.ProductID]-h.held(line.ProductID)); line.Quantity > available {
			return &inventory.NotEnoughError{ProductID: line.ProductID, Wanted: line.Quantity, Available: available}
		}
	}
	return nil
}

// wantFree checks that the key of a checkout that was not paid may be used again.
func (h *history) wantFree(t *rapid.T, o *openCheckout) {
	want(t, "keys of a checkout that was not paid", h.s.number(
		"SELECT COUNT(*) FROM idempotency_key WHERE client_id = ? AND idempotency_key = ?", o.client, o.key), 0)
}

func (h *history) suffices(lines []inventory.Line) bool {
	for _, line := range lines {
		if line.Quantity > h.onHand[line.ProductID] {
			return false
		}
	}
	return true
}

// end takes the end of an open checkout into the model.
func (h *history) end(o *openCheckout, sold bool) {
	h.ended = true
	h.open = slices.DeleteFunc(h.open, func(other *openCheckout) bool { return other == o })
	for _, line := range o.lines {
		if sold {
			h.onHand[line.ProductID] -= line.Quantity
		} else {
			h.carts[units{o.client, line.ProductID}] += line.Quantity
		}
	}
	if sold {
		h.sold = append(h.sold, o)
	}
}

// cancelled takes the end of a cancellation into the model.
func (h *history) cancelled(o *openCheckout) {
	h.ended = true
	h.sold = slices.DeleteFunc(h.sold, func(other *openCheckout) bool { return other == o })
	for _, line := range o.lines {
		h.onHand[line.ProductID] += line.Quantity
	}
}

// plenty reports whether the stock suffices for all that is open.
func (h *history) plenty() bool {
	for _, product := range historyProducts {
		if h.held(product) > h.onHand[product] {
			return false
		}
	}
	return true
}

// recover buries instances, starts others, of which some die while they recover what is open, and
// takes into the model how all that was open ended. captured says of which checkouts it is known
// whether they were paid; of the others it is drawn.
func (h *history) recover(t *rapid.T, captured map[string]bool, buried ...*historyInstance) {
	plenty := h.plenty()
	for _, o := range h.open {
		if _, known := captured[o.id]; known {
			continue
		}
		if captured[o.id] = rapid.Bool().Draw(t, "captured"); captured[o.id] {
			if _, err := h.s.ledger.approve(t.Context(), o.order()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, in := range buried {
		in.bury()
	}
	for range rapid.SampledFrom([]int{1, 0, 2}).Draw(t, "die while they recover") {
		at := rapid.SampledFrom([]point{beforeVoid, afterVoid, inTX2, beforeRefund, afterRefund}).Draw(t, "dies")
		h.recoverUpTo(at)
	}
	survivors := slices.DeleteFunc(slices.Clone(h.in), func(in *historyInstance) bool { return slices.Contains(buried, in) })
	h.start()
	h.s.quiet()
	for _, o := range slices.Clone(h.open) {
		if slices.Contains(survivors, o.in) {
			o.answer <- h.s.ledger.approve // it comes after the end, and changes nothing
		}
		if err := o.call.end(); !errors.Is(err, checkout.ErrPending) {
			if state, sold := h.state(o), err == nil; sold != (state == checkout.Committed) {
				t.Fatalf("checkout %s was answered %v, and is %s", o.id, err, state)
			}
		}
	}
	for _, in := range survivors {
		in.bury()
	}
	h.readEndsAs(t, captured, plenty, nil)
}

// recoverUpTo starts an instance that dies at a point of recovery, if it comes by there.
func (h *history) recoverUpTo(at point) {
	h.s.t.Helper()
	h.arrived = make(chan string, 1<<8)
	in := h.startOne()
	in.life.endsAt(at)
	eventually(h.s.t, "it has recovered all, or died", func() bool {
		select {
		case <-in.life.ended:
			return true
		default:
			return h.s.inFlight() == 0
		}
	})
	in.bury()
}

func (h *history) entry(o *openCheckout) checkout.Entry {
	e, err := checkout.Show(context.Background(), h.s.db, o.id)
	if err != nil {
		h.s.t.Fatal(err)
	}
	return e
}

func (h *history) state(o *openCheckout) checkout.State { return h.entry(o).State }

// readEnds takes what the journal says of all open checkouts into the model, after wait for each.
func (h *history) readEnds(wait func(*openCheckout) error) {
	for _, o := range slices.Clone(h.open) {
		var err error
		if wait != nil {
			err = wait(o)
		}
		sold := h.state(o) == checkout.Committed
		if wait != nil && sold != (err == nil) {
			h.s.t.Fatalf("checkout %s was answered %v, and is %s", o.id, err, h.state(o))
		}
		h.end(o, sold)
	}
}

// readEndsAs is readEnds for checkouts of which some were paid: those alone are sold, and all of
// them where there is plenty.
func (h *history) readEndsAs(t *rapid.T, captured map[string]bool, plenty bool, wait func(*openCheckout) error) {
	ended := slices.Clone(h.open)
	h.readEnds(wait)
	for _, o := range ended {
		if state := h.state(o); (state == checkout.Committed) != captured[o.id] && (plenty || !captured[o.id]) {
			t.Fatalf("checkout %s is %s; paid %v, stock for all %v", o.id, state, captured[o.id], plenty)
		}
		if o.key != "" && strings.HasPrefix(h.entry(o).Reason, "voided") {
			h.wantFree(t, o)
			continue
		}
		if o.key != "" {
			var replay *idempotency.Replay
			err := h.any(t).beginKeyed(o.client, o.key).end()
			if !errors.As(err, &replay) || (replay.Status == 200) != (h.state(o) == checkout.Committed) {
				t.Fatalf("a repeat of checkout %s, which is %s, was answered %v", o.id, h.state(o), err)
			}
		}
	}
}

// check compares the tables with the model; and where all has ended, the books.
func (h *history) check(t *rapid.T) {
	var products, lines []struct {
		Client   string
		Product  string
		Quantity int64
		Held     int64
	}
	h.s.query(&products, "SELECT product_id AS product, quantity,"+
		" (SELECT COALESCE(SUM(r.quantity), 0) FROM reserve_purchase r WHERE r.product_id = p.product_id) AS held FROM product_details p")
	for _, p := range products {
		want(t, p.Product+" on hand", p.Quantity, h.onHand[p.Product])
		want(t, p.Product+" held", p.Held, h.held(p.Product))
	}
	h.s.query(&lines, "SELECT client_id AS client, product_id AS product, quantity FROM client_cart")
	carts := map[units]int64{}
	for _, line := range lines {
		carts[units{line.Client, line.Product}] = line.Quantity
	}
	if diff := cmp.Diff(h.carts, carts, cmp.AllowUnexported(units{})); diff != "" {
		t.Errorf("carts (-want +got):\n%s", diff)
	}
	want(t, "in flight", h.s.number("SELECT COUNT(*) FROM checkout_journal WHERE lease_expires_at IS NOT NULL"), int64(len(h.open)))
	if h.ended && len(h.open) == 0 {
		h.ended = false
		h.s.checkBooks(t.Errorf)
	}
	if t.Failed() {
		t.FailNow()
	}
}

package checkout_test

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"pgregory.net/rapid"

	"cartwheel/checkout"
	"cartwheel/database/databasetest"
)

// Whatever happens in whatever order, the tables are what the promises say, and so are the answers.
func TestHistory_guaranteesHoldThroughAny(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := newShopFor(rt, db, slog.New(slog.DiscardHandler))
		for _, table := range []string{"client_cart", "product_details", "reserve_purchase", "checkout_journal", "idempotency_key"} {
			s.exec("DELETE FROM " + table)
		}
		h := &history{s: s, carts: map[units]int64{}, onHand: map[string]int64{}, answers: map[string]chan charge{}}
		for _, product := range historyProducts {
			h.stock(product, rapid.Int64Range(0, 12).Draw(rt, "on hand"))
		}
		h.start()
		rt.Repeat(map[string]func(*rapid.T){
			"add":                  h.add,
			"add more":             h.add,
			"check out":            h.checkOut,
			"check out more":       h.checkOut,
			"answer":               h.answer,
			"answerAll":            h.answerAll,
			"cancel":               h.cancel,
			"cancel more":          h.cancel,
			"die in TX 1":          h.dieInTX1,
			"die while settling":   h.dieWhileSettling,
			"die while cancelling": h.dieWhileCancelling,
			"crash":                h.crash,
			"import":               h.imports,
			"lower":                h.lower,
			"":                     h.check,
		})
		for _, o := range h.open {
			o.answer <- s.ledger.approve
		}
		h.readEnds(func(o *openCheckout) error { return o.call.end() })
		h.check(rt)
	})
}

func (h *history) imports(t *rapid.T) {
	h.stock(rapid.SampledFrom(historyProducts).Draw(t, "product"), rapid.Int64Range(1, 6).Draw(t, "quantity"))
}

func (h *history) lower(t *rapid.T) {
	product := rapid.SampledFrom(historyProducts).Draw(t, "product")
	quantity := rapid.Int64Range(0, h.onHand[product]).Draw(t, "quantity")
	h.s.lower(product, quantity)
	h.onHand[product] -= quantity
}

func (h *history) add(t *rapid.T) {
	client, product := rapid.SampledFrom(historyClients).Draw(t, "client"), rapid.SampledFrom(historyProducts).Draw(t, "product")
	quantity := rapid.Int64Range(1, 4).Draw(t, "quantity")
	h.s.add(client, product, quantity)
	h.carts[units{client, product}] += quantity
}

func (h *history) checkOut(t *rapid.T) {
	client := rapid.SampledFrom(historyClients).Draw(t, "client")
	key := ""
	if rapid.Bool().Draw(t, "keyed") {
		h.keys++
		key = fmt.Sprint("key-", h.keys)
	}
	lines := h.linesOf(client)
	refusal := h.refusal(client, lines)
	in := h.any(t)
	call := in.beginKeyed(client, key)
	if refusal != nil {
		if err := call.end(); err == nil || err.Error() != refusal.Error() {
			t.Fatalf("a checkout of %s was answered %v, want %v", client, err, refusal)
		}
		if key != "" {
			wantReplay(t, h.any(t).beginKeyed(client, key).end(), refusal)
		}
		return
	}
	var id string
	select {
	case id = <-h.arrived:
	case <-call.done:
		t.Fatalf("a checkout of %s was answered %v before its charge", client, call.err)
	}
	h.mu.Lock()
	answer := h.answers[id]
	h.mu.Unlock()
	h.open = append(h.open, &openCheckout{in, id, client, key, lines, call, answer})
	for _, line := range lines {
		delete(h.carts, units{client, line.ProductID})
	}
}

// answers to a charge, and whether they take the money.
func (h *history) drawAnswer(t *rapid.T) (answer charge, captures bool) {
	switch rapid.SampledFrom([]string{"approve", "approve", "decline", "lose", "capture and lose", "never send"}).Draw(t, "answer") {
	case "approve":
		return h.s.ledger.approve, true
	case "capture and lose":
		return h.s.ledger.captureAndLose, true
	case "decline":
		return h.s.ledger.decline("no funds"), false
	case "never send":
		return neverSend, false
	}
	return lose, false
}

// answer answers one charge, and waits for the checkout's end.
func (h *history) answer(t *rapid.T) {
	if len(h.open) == 0 {
		t.Skip("nothing is open")
	}
	i := rapid.IntRange(0, len(h.open)-1).Draw(t, "checkout")
	o := h.open[i]
	answer, captures := h.drawAnswer(t)
	sold := captures && h.suffices(o.lines)
	o.answer <- answer
	err := o.call.end()
	if (err == nil) != sold {
		t.Fatalf("checkout %s was answered %v, want a sale: %v", o.id, err, sold)
	}
	h.end(o, sold)
	switch {
	case o.key == "":
	case errors.Is(err, checkout.ErrUnpaid):
		h.wantFree(t, o)
	default:
		wantReplay(t, h.any(t).beginKeyed(o.client, o.key).end(), err)
	}
}

// answerAll answers all charges at once. Which of several are sold is not certain where the stock
// was lowered.
func (h *history) answerAll(t *rapid.T) {
	captured := map[string]bool{}
	plenty := h.plenty()
	for _, o := range h.open {
		var answer charge
		answer, captured[o.id] = h.drawAnswer(t)
		o.answer <- answer
	}
	h.readEndsAs(t, captured, plenty, func(o *openCheckout) error { return o.call.end() })
}

// dieInTX1 lets an instance die when a checkout is about to begin: it does not.
func (h *history) dieInTX1(t *rapid.T) {
	client := rapid.SampledFrom(historyClients).Draw(t, "client")
	if h.runs > maxInstances || h.refusal(client, h.linesOf(client)) != nil {
		t.Skip("enough instances, or nothing to buy")
	}
	in := h.any(t)
	in.life.endsAt(inTX1)
	wantErr(t, in.begin(client).end(), errDead)
	h.recover(t, map[string]bool{}, in)
}

// dieWhileSettling lets an instance die between the answer to a charge and its checkout's end.
func (h *history) dieWhileSettling(t *rapid.T) {
	if h.runs > maxInstances || len(h.open) == 0 {
		t.Skip("enough instances, or nothing is open")
	}
	o := rapid.SampledFrom(h.open).Draw(t, "checkout")
	answer, captures := h.drawAnswer(t)
	o.in.life.endsAt(rapid.SampledFrom([]point{afterCharge, beforeVoid, afterVoid, inTX2, beforeRefund, afterRefund}).Draw(t, "dies"))
	o.answer <- answer
	select {
	case <-o.in.life.ended:
	case <-o.call.done: // it did not come by there
	}
	h.recover(t, map[string]bool{o.id: captures}, o.in)
}

// cancel cancels a sold checkout, on one instance or on both at once; the payment service may
// refuse.
func (h *history) cancel(t *rapid.T) {
	if len(h.sold) == 0 {
		t.Skip("nothing is sold")
	}
	o := rapid.SampledFrom(h.sold).Draw(t, "checkout")
	refuses := rapid.SampledFrom([]bool{false, false, true}).Draw(t, "refuses")
	h.refuses.Store(refuses)
	defer h.refuses.Store(false)
	calls := []*cancelCall{h.any(t).beginCancel(o.id)}
	if rapid.Bool().Draw(t, "twice") {
		calls = append(calls, h.any(t).beginCancel(o.id))
	}
	for _, c := range calls {
		if refuses {
			wantNotCancellable(t, c.end(), "refund refused: no")
		} else {
			wantErr(t, c.end(), nil)
		}
	}
	if !refuses {
		h.cancelled(o)
		wantErr(t, h.any(t).cancel(o.id), nil)
	}
}

// dieWhileCancelling lets an instance die between the beginning of a cancellation and its end.
func (h *history) dieWhileCancelling(t *rapid.T) {
	if h.runs > maxInstances || len(h.sold) == 0 {
		t.Skip("enough instances, or nothing is sold")
	}
	o := rapid.SampledFrom(h.sold).Draw(t, "checkout")
	in := h.any(t)
	at := rapid.SampledFrom([]point{inTX2, beforeRefund, afterRefund, afterRestock}).Draw(t, "dies")
	in.life.endsAt(at)
	call := in.beginCancel(o.id)
	in.life.await(t)
	h.recover(t, map[string]bool{}, in)
	if at == inTX2 { // it has not begun
		wantErr(t, call.end(), errDead)
		want(t, "state", h.state(o), checkout.Committed)
		return
	}
	wantCancelPending(t, call.end(), o.id)
	want(t, "state", h.state(o), checkout.Cancelled)
	h.cancelled(o)
}

// crash ends instances in the middle of everything, or drains them without giving them time.
func (h *history) crash(t *rapid.T) {
	if h.runs > maxInstances {
		t.Skip("enough instances")
	}
	dying := []*historyInstance{h.any(t)}
	if rapid.Bool().Draw(t, "all") {
		dying = h.in
	}
	if rapid.Bool().Draw(t, "killed") {
		for _, in := range dying {
			in.life.end()
		}
	}
	h.recover(t, map[string]bool{}, dying...)
}

package checkout

import (
	"context"
	"errors"
	"slices"
	"strings"

	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/payment"
)

// payments answers the audit's questions about payments.
type payments interface {
	Lookup(ctx context.Context, checkoutID string) (payment.Payment, error)
	Void(ctx context.Context, checkoutID string) (payment.Result, error)
}

// AuditPayments compares settled checkouts with the answers of the payment service, which remembers
// them for 30 days. It adds inconsistencies to the report. It asks a service without lookups to
// void the checkouts. Where exactly the committed checkouts are charged, that changes nothing:
// their payments stay approved, and all others are voided already.
//
// A call that fails is an inconsistency of RuleGateway; the others go on. It returns errors of the
// database alone.
func AuditPayments(ctx context.Context, db *database.DB, service payments, r *Report) error {
	failed := 0
	for after := firstID(maxAskedAge); ; {
		settled, err := database.Query(ctx, db.Read, func(tx *database.Tx) ([]Entry, error) {
			return settledAfter(ctx, tx, after, maxAskedAge, database.ChunkRows)
		})
		if err != nil || len(settled) == 0 {
			return err
		}
		after = settled[len(settled)-1].CheckoutID
		answers := make([]paymentAnswer, len(settled))
		concurrently(len(answers), gatewayCalls, func(i int) {
			answers[i] = ask(ctx, service, settled[i].CheckoutID)
		})
		for i, answer := range answers {
			if answer.err != nil {
				failed++
				r.addf(RuleGateway, settled[i].CheckoutID, "the payment service could not be asked: %v", answer.err)
				continue
			}
			r.Payments++
			r.payment(settled[i], answer)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.Payments == 0 && failed >= maxFailedCalls {
			r.addf(RuleGateway, after, "no question was answered: those about later checkouts were not asked")
			return nil
		}
	}
}

// A paymentAnswer is the payment service's answer about one checkout, or the error of the call.
type paymentAnswer struct {
	payment.Payment
	looked bool // by a lookup; a void does not tell a refund from a charge that never happened
	err    error
}

func ask(ctx context.Context, service payments, checkoutID string) paymentAnswer {
	found, err := service.Lookup(ctx, checkoutID)
	if !errors.Is(err, payment.ErrNoLookup) {
		return paymentAnswer{Payment: found, looked: true, err: err}
	}
	result, err := service.Void(ctx, checkoutID)
	return paymentAnswer{Payment: payment.Payment{Status: result.Status}, err: err}
}

// payment compares a settled checkout with the payment service's answer.
func (r *Report) payment(e Entry, answer paymentAnswer) {
	captured, committed := answer.Status == payment.Approved, e.State == Committed
	switch {
	case committed && answer.Status == payment.Refunded:
		r.notef(RulePayment, e.CheckoutID, "committed, and refunded at the payment service")
	case committed && answer.Status == payment.Voided && !answer.looked:
		r.notef(RulePayment, e.CheckoutID, "committed, and the payment service voids it: it was refunded there, or never charged")
	case captured != committed:
		r.addf(RulePayment, e.CheckoutID, "the journal says %s, the payment service %s", e.State, answer.Status)
	case captured && answer.Items != nil && !sameItems(e.Lines, answer.Items):
		r.addf(RulePayment, e.CheckoutID, "the journal has the lines %v, the payment service charged %v", e.Lines, answer.Items)
	}
}

// sameItems reports whether the payment service was asked for these lines, which are sorted.
func sameItems(lines []inventory.Line, items []payment.Item) bool {
	items = slices.Clone(items)
	slices.SortFunc(items, func(a, b payment.Item) int { return strings.Compare(a.ProductID, b.ProductID) })
	return slices.Equal(itemsOf(lines), items)
}

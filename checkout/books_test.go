package checkout_test

import (
	"context"
	"maps"

	"cartwheel/checkout"
)

// books checks promises C, P, U and Q once all is quiet, from the tables and the ledger.
func (s *shop) books() {
	s.t.Helper()
	s.checkBooks(s.t.Errorf)
}

func (s *shop) checkBooks(breach func(format string, args ...any)) {
	s.t.Helper()
	s.mu.Lock()
	stocked, added := maps.Clone(s.stocked), maps.Clone(s.added)
	s.mu.Unlock()

	sold, bought := map[string]int64{}, map[units]int64{}
	committed, cancelled := map[string]bool{}, map[string]bool{}
	for _, e := range s.entries(checkout.Filter{}) {
		switch e.State {
		case checkout.Committed:
			committed[e.CheckoutID] = true
			for _, line := range e.Lines {
				sold[line.ProductID] += line.Quantity
				bought[units{e.ClientID, line.ProductID}] += line.Quantity
			}
		case checkout.Cancelled:
			cancelled[e.CheckoutID] = true
			for _, line := range e.Lines {
				bought[units{e.ClientID, line.ProductID}] += line.Quantity
			}
		case checkout.RolledBack:
			if e.Reason == "" {
				breach("checkout %s was not sold, and the journal does not say why", e.CheckoutID)
			}
		default:
			breach("Q: checkout %s is still %s", e.CheckoutID, e.State)
		}
		if !e.LeaseExpiresAt.IsZero() {
			breach("checkout %s is %s and has a lease", e.CheckoutID, e.State)
		}
	}
	if n := s.number("SELECT COUNT(*) FROM reserve_purchase"); n != 0 {
		breach("Q: %d holds are left", n)
	}
	if n := s.number("SELECT COUNT(*) FROM idempotency_key WHERE http_status IS NULL"); n != 0 {
		breach("Q: %d keys have no answer", n)
	}
	for product, came := range stocked {
		if onHand := s.onHand(product); onHand < 0 || came != onHand+sold[product] {
			breach("C: of product %s came %d, but %d are on hand and %d sold", product, came, onHand, sold[product])
		}
	}
	s.checkCarts(breach, added, bought)
	s.checkPayments(breach, committed, cancelled)
}

// checkCarts checks promise U.
func (s *shop) checkCarts(breach func(string, ...any), added, bought map[units]int64) {
	s.t.Helper()
	var lines []struct {
		ClientID  string `db:"client_id"`
		ProductID string `db:"product_id"`
		Quantity  int64  `db:"quantity"`
	}
	s.query(&lines, "SELECT client_id, product_id, COALESCE(quantity, 0) AS quantity FROM client_cart")
	for _, line := range lines {
		bought[units{line.ClientID, line.ProductID}] += line.Quantity
	}
	for _, where := range []map[units]int64{added, bought} {
		for of := range where {
			if added[of] != bought[of] {
				breach("U: client %s added %d of product %s; cart and sales have %d", of.client, added[of], of.product, bought[of])
			}
		}
	}
}

// checkPayments checks promise P, and that an audit finds nothing, and changes nothing.
func (s *shop) checkPayments(breach func(string, ...any), committed, cancelled map[string]bool) {
	s.t.Helper()
	before := s.ledger.all()
	for id, a := range before {
		if a.captures > 1 {
			breach("P: checkout %s was charged %d times", id, a.captures)
		}
		if kept := a.captured && !a.refunded; kept != committed[id] {
			breach("P: checkout %s: money kept %v, committed %v", id, kept, committed[id])
		}
	}
	for id := range committed {
		if !before[id].captured {
			breach("P: checkout %s is committed and was never paid", id)
		}
	}
	for id := range cancelled {
		if a := before[id]; !a.captured || !a.refunded {
			breach("P: checkout %s is cancelled; charged %v, refunded %v", id, a.captured, a.refunded)
		}
	}
	ctx := context.Background()
	verdict, err := checkout.Audit(ctx, s.db)
	if err == nil {
		err = checkout.AuditPayments(ctx, s.db, s.ledger.till(), &verdict)
	}
	if err != nil {
		breach("audit: %v", err)
	}
	for _, b := range verdict.Inconsistencies {
		breach("audit: %s: %s: %s", b.Rule, b.What, b.Detail)
	}
	for id, a := range s.ledger.all() {
		if was := before[id]; a.captured != was.captured || a.refunded != was.refunded || a.captures != was.captures {
			breach("the audit changed the payment of checkout %s", id)
		}
	}
}

package checkout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"cartwheel/database"
	"cartwheel/inventory"
)

const (
	// overdueAfter is the minimum time since the end of a lease after which an open checkout is
	// overdue. A running server claims it within a second, unless it recovers its maximum of other
	// checkouts.
	overdueAfter = 10 * time.Second
	// maxListed is the maximum of inconsistencies, and of notes, that a report lists; it counts
	// all.
	maxListed = 1000
	// maxAskedAge is the maximum age of a checkout that the payment service is asked about. The
	// service remembers it for at least 30 days; the day between leaves time for the calls.
	maxAskedAge = 29 * 24 * time.Hour
	// gatewayCalls is the maximum number of concurrent calls to the payment service.
	gatewayCalls = 16
	// maxFailedCalls is the number of failed calls after which an audit stops asking, if none
	// succeeded.
	maxFailedCalls = 64
	// firstAudit is the time from the start to the first audit. Recovery first settles the
	// checkouts that the last run left open.
	firstAudit = 30 * time.Second
	// auditInterval is the interval between two audits.
	auditInterval = 5 * time.Minute
)

// A Rule is a condition that an audit checks.
type Rule string

// The rules.
const (
	RuleStock    Rule = "stock"    // 0 <= reserved <= on hand, for each product
	RuleReserved Rule = "reserved" // a reserved checkout has a reservation for each line, a refunding one has none
	RuleOwned    Rule = "owned"    // every reservation belongs to a reserved checkout
	RuleOverdue  Rule = "overdue"  // an open checkout whose lease has ended must be claimed
	RulePayment  Rule = "payment"  // captured if and only if committed, with the lines of the journal
	RuleGateway  Rule = "gateway"  // the payment service answers
)

// An Inconsistency is one violation of a rule.
type Inconsistency struct {
	Rule   Rule   `json:"rule"`
	What   string `json:"what"`   // the product, reservation or checkout
	Detail string `json:"detail"` // what was found, and what was expected
	// Repaired says that Repair has repaired it.
	Repaired bool `json:"repaired,omitempty"`
}

// A Report is the result of an audit.
type Report struct {
	At              time.Time       `json:"at"`
	Products        int             `json:"products"`        // in the catalogue, or reserved
	OnHand          int64           `json:"onHand"`          // units
	Reserved        int64           `json:"reserved"`        // units
	Reservations    int             `json:"reservations"`    // rows
	Open            int             `json:"open"`            // open checkouts, of all instances
	Payments        int             `json:"payments"`        // settled checkouts that the payment service answered for
	Count           int             `json:"count"`           // of inconsistencies
	Inconsistencies []Inconsistency `json:"inconsistencies"` // the first thousand
	// Notes are facts that break no rule, such as refunds that the shop made at its payment
	// service.
	Notes []Inconsistency `json:"notes,omitempty"`
}

// Sound reports whether no inconsistency was found, or all were repaired.
func (r *Report) Sound() bool {
	for _, found := range r.Inconsistencies {
		if !found.Repaired {
			return false
		}
	}
	return r.Count == len(r.Inconsistencies)
}

func (r *Report) addf(rule Rule, what, format string, args ...any) {
	r.Count++
	if len(r.Inconsistencies) < maxListed {
		r.Inconsistencies = append(r.Inconsistencies, Inconsistency{Rule: rule, What: what, Detail: fmt.Sprintf(format, args...)})
	}
}

func (r *Report) notef(rule Rule, what, format string, args ...any) {
	if len(r.Notes) < maxListed {
		r.Notes = append(r.Notes, Inconsistency{Rule: rule, What: what, Detail: fmt.Sprintf(format, args...)})
	}
}

// Audit checks the tables on one snapshot. It locks nothing. It blocks while it reads every
// product, reservation and open checkout.
func Audit(ctx context.Context, db *database.DB) (Report, error) {
	r := Report{At: time.Now().UTC(), Inconsistencies: []Inconsistency{}}
	err := db.Snapshot(ctx, func(tx *database.Tx) error {
		if err := inventory.EachLevel(ctx, tx, r.level); err != nil {
			return fmt.Errorf("read the stock: %w", err)
		}
		ids, err := openIDs(ctx, tx, Filter{})
		if err != nil {
			return err
		}
		open, err := entriesByID(ctx, tx, ids, "")
		if err != nil {
			return err
		}
		r.Open = len(open)
		reserved := map[string]int{}
		if err := inventory.EachReservation(ctx, tx, func(row inventory.ReservationRow) error {
			r.reservation(row, open, reserved)
			return nil
		}); err != nil {
			return fmt.Errorf("read the reservations: %w", err)
		}
		for _, e := range open {
			if want := len(e.Lines); e.State == Reserved && reserved[e.CheckoutID] != want {
				r.addf(RuleReserved, e.CheckoutID, "%d of its %d lines are reserved", reserved[e.CheckoutID], want)
			}
		}
		overdue, err := overdueEntries(ctx, tx, overdueAfter)
		for _, e := range overdue {
			r.addf(RuleOverdue, e.CheckoutID, "%s, and unclaimed since %s: is a server running, and does its payment service answer?",
				e.State, e.LeaseExpiresAt.Format(time.DateTime))
		}
		return err
	})
	return r, err
}

func (r *Report) level(productID string, level inventory.Level) error {
	r.Products++
	r.OnHand += level.OnHand
	r.Reserved += level.Reserved
	if level.Reserved < 0 || level.Reserved > level.OnHand {
		r.addf(RuleStock, productID, "reserved %d, on hand %d: expected 0 <= reserved <= on hand", level.Reserved, level.OnHand)
	}
	return nil
}

// reservation checks a reservation against the open checkouts, and counts it in reserved if it is
// that of a line.
func (r *Report) reservation(row inventory.ReservationRow, open map[string]Entry, reserved map[string]int) {
	r.Reservations++
	id, line, ours := row.Checkout()
	entry, exists := open[id]
	switch {
	case !ours || !exists:
		r.addf(RuleOwned, row.ReserveID, "%d of product %q are reserved, but by no checkout in flight", row.Quantity, row.ProductID)
	case entry.State != Reserved:
		r.addf(RuleReserved, row.ReserveID, "reserved by a checkout that is %s", entry.State)
	case line < 1 || line > len(entry.Lines):
		r.addf(RuleReserved, row.ReserveID, "its checkout has %d lines", len(entry.Lines))
	case entry.Lines[line-1] != row.Line:
		want := entry.Lines[line-1]
		r.addf(RuleReserved, row.ReserveID, "%d of product %q are reserved, but the line is %d of product %q",
			row.Quantity, row.ProductID, want.Quantity, want.ProductID)
	default:
		reserved[id]++
	}
}

// Repair deletes the reservations that no checkout owns. One that has an owner by now stays, and is
// not repaired. Other inconsistencies need a person, or a running server.
func Repair(ctx context.Context, db *database.DB, r *Report) error {
	for i := range r.Inconsistencies {
		found := &r.Inconsistencies[i]
		if found.Rule != RuleOwned {
			continue
		}
		switch err := db.Transact(ctx, func(tx *database.Tx) error { return deleteOrphan(ctx, tx, found.What) }, nil); {
		case errors.Is(err, errNotOrphan):
			found.Detail += " (it has an owner by now)"
		case err != nil:
			return fmt.Errorf("delete the reservation %s: %w", found.What, err)
		default:
			found.Repaired = true
		}
	}
	return nil
}

// errNotOrphan means that a reservation belongs to a reserved checkout after all.
var errNotOrphan = errors.New("the reservation is owned")

// deleteOrphan deletes a reservation, and then looks for its checkout: in the lock order the
// journal comes after the reservations. errNotOrphan rolls the transaction back.
func deleteOrphan(ctx context.Context, tx *database.Tx, reserveID string) error {
	b := tx.Batch()
	inventory.DeleteReservations(b, []string{reserveID})
	if err := b.Send(ctx); err != nil {
		return err
	}
	id, _, ours := inventory.ReservationRow{ReserveID: reserveID}.Checkout()
	if !ours {
		return nil
	}
	entries, err := entriesByID(ctx, tx, []string{id}, tx.ForUpdate())
	if err == nil && entries[id].State == Reserved {
		err = errNotOrphan
	}
	return err
}

// An Auditor audits in the background and stores its last report. The zero value is ready to use.
type Auditor struct{ last atomic.Pointer[Report] }

// Last returns the last report, or nil before there is one.
func (a *Auditor) Last() *Report { return a.last.Load() }

// Run audits every few minutes until ctx ends, and logs each inconsistency. It blocks.
func (a *Auditor) Run(ctx context.Context, db *database.DB, log *slog.Logger) {
	for pause := firstAudit; sleep(ctx, pause); pause = auditInterval {
		report, err := Audit(ctx, db)
		if err != nil {
			if ctx.Err() == nil {
				log.Warn("the audit failed", "error", err)
			}
			continue
		}
		for _, found := range report.Inconsistencies {
			log.Error("the audit found an inconsistency", "rule", found.Rule, "what", found.What, "detail", found.Detail)
		}
		a.last.Store(&report)
	}
}

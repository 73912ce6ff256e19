package checkout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/payment"
)

const (
	// overdueAfter is how long after its lease a checkout may wait for an instance to claim it. Where one runs it
	// does so within a second, unless it has its hands full with others, as when the gateway is away.
	overdueAfter = 10 * time.Second
	// busyFor is how long ago the last claim of any checkout may be where instances have their hands full.
	busyFor = 30 * time.Second
	// maxBreaches is how many breaches a verdict lists; it counts all.
	maxBreaches = 1000
	// gatewayMemory is how far back a payment gateway is asked. It remembers a checkout for 30 days at least; the day
	// between is for the time that the questions take.
	gatewayMemory = 29 * 24 * time.Hour
)

// A Rule is what an audit checks.
type Rule string

// The rules.
const (
	RuleStock   Rule = "stock"   // 0 <= held <= on hand, for each product
	RuleHolds   Rule = "holds"   // a reserved checkout holds each of its lines, a refunding one nothing
	RuleOwned   Rule = "owned"   // every hold belongs to a reserved checkout
	RuleOverdue Rule = "overdue" // an open checkout whose lease is over is claimed
	RulePayment Rule = "payment" // captured if and only if committed
)

// A Breach is one place where the books are not as promised.
type Breach struct {
	Rule   Rule   `json:"rule"`
	What   string `json:"what"`   // the product, hold or checkout
	Detail string `json:"detail"` // what was found, and what was expected
	// Mended says that the repair has mended it.
	Mended bool `json:"mended,omitempty"`
}

// A Verdict is what an audit found.
type Verdict struct {
	At       time.Time `json:"at"`
	Products int       `json:"products"` // in the catalogue, or held
	OnHand   int64     `json:"onHand"`   // units
	Held     int64     `json:"held"`     // units
	Holds    int       `json:"holds"`
	Open     int       `json:"open"`     // checkouts in flight
	Payments int       `json:"payments"` // settled checkouts that the gateway was asked about
	Count    int       `json:"count"`    // of breaches
	Breaches []Breach  `json:"breaches"` // the first thousand of them
}

// Sound reports whether nothing was found, or all that was found was mended.
func (v *Verdict) Sound() bool {
	for _, b := range v.Breaches {
		if !b.Mended {
			return false
		}
	}
	return v.Count == len(v.Breaches)
}

func (v *Verdict) breachf(rule Rule, what, format string, args ...any) {
	v.Count++
	if len(v.Breaches) < maxBreaches {
		v.Breaches = append(v.Breaches, Breach{Rule: rule, What: what, Detail: fmt.Sprintf(format, args...)})
	}
}

// Audit checks the books, all as of one moment, while the shop sells. It locks nothing. It blocks while it reads every
// product, hold and open checkout.
func Audit(ctx context.Context, db *database.DB) (Verdict, error) {
	v := Verdict{At: time.Now().UTC(), Breaches: []Breach{}}
	err := db.Snapshot(ctx, func(tx *database.Tx) error {
		if err := inventory.EachLevel(ctx, tx, v.level); err != nil {
			return fmt.Errorf("read the stock: %w", err)
		}
		open := map[string]Entry{}
		if err := eachEntry(ctx, tx, Filter{Open: true}, func(e Entry) error {
			open[e.CheckoutID] = e
			return nil
		}); err != nil {
			return fmt.Errorf("read the open checkouts: %w", err)
		}
		v.Open = len(open)
		held := map[string]int{}
		if err := inventory.EachReservation(ctx, tx, func(h inventory.ReservationRow) error {
			v.hold(h, open, held)
			return nil
		}); err != nil {
			return fmt.Errorf("read the holds: %w", err)
		}
		for _, e := range open {
			if want := len(e.Lines); e.State == Reserved && held[e.CheckoutID] != want {
				v.breachf(RuleHolds, e.CheckoutID, "%d of its %d lines are held", held[e.CheckoutID], want)
			}
		}
		return v.overdue(ctx, tx)
	})
	return v, err
}

func (v *Verdict) level(productID string, level inventory.Level) error {
	v.Products++
	v.OnHand += level.OnHand
	v.Held += level.Reserved
	if level.Reserved < 0 || level.Reserved > level.OnHand {
		v.breachf(RuleStock, productID, "held %d, on hand %d: expected 0 <= held <= on hand", level.Reserved, level.OnHand)
	}
	return nil
}

// hold checks a hold against the open checkouts, and counts it in held if it is one that a line of its checkout has.
func (v *Verdict) hold(h inventory.ReservationRow, open map[string]Entry, held map[string]int) {
	v.Holds++
	id, line, ours := h.Owner()
	owner, exists := open[id]
	switch {
	case !ours || !exists:
		v.breachf(RuleOwned, h.ReserveID, "%d of product %q are held, but by no checkout in flight", h.Quantity, h.ProductID)
	case owner.State != Reserved:
		v.breachf(RuleHolds, h.ReserveID, "held by a checkout that is %s", owner.State)
	case line < 1 || line > len(owner.Lines):
		v.breachf(RuleHolds, h.ReserveID, "its checkout has %d lines", len(owner.Lines))
	case owner.Lines[line-1] != h.Line:
		want := owner.Lines[line-1]
		v.breachf(RuleHolds, h.ReserveID, "holds %d of product %q, but the line is %d of product %q",
			h.Quantity, h.ProductID, want.Quantity, want.ProductID)
	default:
		held[id]++
	}
}

func (v *Verdict) overdue(ctx context.Context, tx *database.Tx) error {
	busy, err := recoveryBusy(ctx, tx, busyFor)
	if err != nil || busy {
		return err
	}
	late, err := overdueEntries(ctx, tx, overdueAfter)
	for _, e := range late {
		v.breachf(RuleOverdue, e.CheckoutID, "%s, and nobody's since %s: is a server running?",
			e.State, e.LeaseExpiresAt.Format(time.DateTime))
	}
	return err
}

// AuditPayments asks the gateway to void every settled checkout that it still remembers, which changes nothing where
// promise P holds: a committed one stays approved, any other is voided already. It adds what it finds to the verdict.
func AuditPayments(ctx context.Context, db *database.DB, gateway gateway, v *Verdict) error {
	var settled []Entry
	for after := ""; ; {
		if err := db.Read(ctx, func(tx *database.Tx) (err error) {
			settled, err = settledAfter(ctx, tx, after, gatewayMemory, database.ChunkRows)
			return err
		}); err != nil || len(settled) == 0 {
			return err
		}
		for _, e := range settled {
			after = e.CheckoutID
			result, err := gateway.Void(ctx, e.CheckoutID)
			if err != nil {
				return fmt.Errorf("ask the gateway about checkout %s: %w", e.CheckoutID, err)
			}
			v.Payments++
			if captured := result.Status == payment.Approved; captured != (e.State == Committed) {
				v.breachf(RulePayment, e.CheckoutID, "the journal says %s, the gateway %s", e.State, result.Status)
			}
		}
	}
}

// Repair mends what is safe to mend: it drops the holds that no checkout owns. What else is found needs a person, or
// a server that runs.
func Repair(ctx context.Context, db *database.DB, v *Verdict) error {
	for i := range v.Breaches {
		b := &v.Breaches[i]
		if b.Rule != RuleOwned {
			continue
		}
		switch err := db.Transact(ctx, func(tx *database.Tx) error { return dropUnowned(ctx, tx, b.What) }, nil); {
		case errors.Is(err, errOwned):
			b.Detail += " (it has an owner by now)"
		case err != nil:
			return fmt.Errorf("drop the hold %s: %w", b.What, err)
		}
		b.Mended = true
	}
	return nil
}

// errOwned means that a hold belongs to a checkout after all.
var errOwned = errors.New("the hold is owned")

func dropUnowned(ctx context.Context, tx *database.Tx, reserveID string) error {
	if err := inventory.DeleteReservations(ctx, tx, []string{reserveID}); err != nil {
		return err
	}
	id, _, ours := inventory.ReservationRow{ReserveID: reserveID}.Owner()
	if !ours {
		return nil
	}
	entries, err := entriesLocked(ctx, tx, []string{id})
	if err == nil && entries[id].State == Reserved {
		err = errOwned
	}
	return err
}

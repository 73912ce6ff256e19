package checkout

import (
	"strings"
	"time"

	"cartwheel/inventory"
)

// A State is the state of a checkout in the journal, a table whose rows change with the state.
//
// A checkout is open while its state is not settled. It is in flight on the instance that admitted
// it until that instance has ended it, or left it to another.
type State string

// The states of a checkout. Committed is the state of a sale, not the COMMIT of a transaction.
// Nothing leaves RolledBack or Cancelled, and nothing leaves Refunding for Committed. Committed is
// left for Cancelling, which is left for Cancelled, or for Committed again when the payment service
// refuses the refund.
const (
	Reserved   State = "reserved"    // stock is reserved, no result of the payment is stored yet
	Committed  State = "committed"   // paid and sold
	Refunding  State = "refunding"   // paid, but less is on hand than it reserved: being refunded
	RolledBack State = "rolled_back" // not sold; the lines are in the cart again
	Cancelling State = "cancelling"  // sold, and being refunded because the shop cancels it
	Cancelled  State = "cancelled"   // sold, then refunded; the units are on hand again
)

// Settled reports whether the checkout has ended: no claim on it is left. A committed one may
// still be cancelled.
func (s State) Settled() bool { return s == Committed || s == RolledBack || s == Cancelled }

// wasSold reports whether the checkout was sold. It may have been cancelled since.
func (s State) wasSold() bool { return s == Committed || s == Cancelling || s == Cancelled }

// An Entry is a checkout as the journal has it.
type Entry struct {
	CheckoutID     string           `db:"checkout_id" json:"checkoutID"`
	ClientID       string           `db:"client_id" json:"clientID"`
	State          State            `db:"state" json:"state"`
	Epoch          int              `db:"epoch" json:"epoch"`
	Lines          []inventory.Line `db:"-" json:"items"`
	Reason         string           `db:"reason" json:"reason"`
	Reference      string           `db:"reference" json:"reference,omitempty"`
	IdempotencyKey string           `db:"idempotency_key" json:"idempotencyKey,omitempty"`
	CreatedAt      time.Time        `db:"created_at" json:"createdAt"`
	UpdatedAt      time.Time        `db:"updated_at" json:"updatedAt"`
	// LeaseExpiresAt is when other instances may claim the checkout; zero once it is settled.
	LeaseExpiresAt time.Time `db:"lease_expires_at" json:"leaseExpiresAt,omitzero"`

	// Damage is why the lines could not be read, in a row that another program wrote; nil
	// otherwise.
	Damage error `db:"-" json:"-"`
}

// The reasons that the journal gives for a checkout that was not sold begin with one of these
// words.
const (
	reasonDeclined   = "declined"
	reasonNotCharged = "voided" // or the charge was never sent
	reasonRefunded   = "refunded"
)

// reasonRefused begins the reason that the journal gives for a committed checkout whose
// cancellation the payment service refused.
const reasonRefused = "refund refused"

// stockLowered is why a paid checkout is refunded.
const stockLowered = reasonRefunded + ": the stock was lowered while the payment was under way"

// maxReason is the maximum length of a reason in characters: the column is varchar(500).
const maxReason = 500

func reasonOf(word, detail string) string {
	if detail == "" {
		return word
	}
	reason := []rune(word + ": " + detail)
	return string(reason[:min(len(reason), maxReason)])
}

// outcome returns the result of a settled checkout for its caller: nil when it was sold, even if it
// was cancelled since.
func outcome(state State, reason string) error {
	if state.wasSold() {
		return nil
	}
	switch word, detail, _ := strings.Cut(reason, ": "); word {
	case reasonDeclined:
		return &ReasonError{ErrDeclined, detail}
	case reasonRefunded:
		return &ReasonError{ErrRefunded, detail}
	default:
		return &ReasonError{ErrUnpaid, detail}
	}
}

// A claim is the right to finish an open checkout, or to cancel a committed one, with the data that
// this needs. Its owner is one goroutine. The epoch is a fencing token: each claim of a checkout
// has a higher one than the claim before, and TX 2 applies only with the highest.
type claim struct {
	id, clientID string
	lines        []inventory.Line
	key          string // the Idempotency-Key that TX 2 answers; empty: none
	reference    string // the Cartwheel-Reference; empty: none
	state        State
	epoch        int
	// until is when the lease ends, by this process's clock. It counts from before the lease was
	// written, so it is early rather than late.
	until time.Time
}

// claimOf returns the claim of an entry. The key of a sold checkout has been answered.
func claimOf(e Entry, until time.Time) *claim {
	c := &claim{
		id: e.CheckoutID, clientID: e.ClientID, lines: e.Lines, reference: e.Reference,
		state: e.State, epoch: e.Epoch, until: until,
	}
	if !e.State.wasSold() {
		c.key = e.IdempotencyKey
	}
	return c
}

// lineBytes is about what the lines take, the order to the payment service included.
func (c *claim) lineBytes() (size int64) {
	for _, line := range c.lines {
		size += int64(2 * (len(line.ProductID) + 48))
	}
	return size
}

func (c *claim) reservation() inventory.Reservation {
	return inventory.Reservation{CheckoutID: c.id, Lines: c.lines}
}

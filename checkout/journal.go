package checkout

import (
	"strings"
	"time"

	"cartwheel/inventory"
)

// A State is where a checkout stands in the journal.
type State string

// The states of a checkout. Nothing leaves Committed or RolledBack, and nothing leaves Refunding for Committed.
const (
	Reserved   State = "reserved"    // stock is held, payment is under way
	Committed  State = "committed"   // paid and sold
	Refunding  State = "refunding"   // paid, but the stock was lowered by hand: the money is going back
	RolledBack State = "rolled_back" // not sold; the lines are in the cart again
)

// Settled reports whether the state is final.
func (s State) Settled() bool { return s == Committed || s == RolledBack }

// An Entry is a checkout as the journal has it.
type Entry struct {
	CheckoutID     string           `db:"checkout_id" json:"checkoutID"`
	ClientID       string           `db:"client_id" json:"clientID"`
	State          State            `db:"state" json:"state"`
	Epoch          int              `db:"epoch" json:"epoch"`
	Lines          []inventory.Line `db:"-" json:"items"`
	Reason         string           `db:"reason" json:"reason"`
	IdempotencyKey string           `db:"idempotency_key" json:"idempotencyKey,omitempty"`
	CreatedAt      time.Time        `db:"created_at" json:"createdAt"`
	UpdatedAt      time.Time        `db:"updated_at" json:"updatedAt"`
	// LeaseExpiresAt is until when the checkout is its owner's alone; zero once it is settled.
	LeaseExpiresAt time.Time `db:"lease_expires_at" json:"leaseExpiresAt,omitzero"`

	// Damage is why the lines could not be read, in a row that someone else has written; nil otherwise.
	Damage error `db:"-" json:"-"`
}

// The reasons that the journal gives for a checkout that was not sold begin with one of these words.
const (
	reasonDeclined = "declined"
	reasonVoided   = "voided"
	reasonRefunded = "refunded"
)

// stockLowered is why a paid checkout is refunded.
const stockLowered = reasonRefunded + ": the stock was lowered while the payment was under way"

// maxReason is the most characters of a reason that the journal keeps.
const maxReason = 500

func reasonOf(word, detail string) string {
	if detail == "" {
		return word
	}
	reason := []rune(word + ": " + detail)
	return string(reason[:min(len(reason), maxReason)])
}

// outcome is what a caller is told of a checkout that is settled: nil when it was sold.
func outcome(state State, reason string) error {
	if state == Committed {
		return nil
	}
	switch word, detail, _ := strings.Cut(reason, ": "); word {
	case reasonDeclined:
		return &DeclinedError{detail}
	case reasonVoided:
		return &VoidedError{detail}
	}
	return &VoidedError{reason} // refunded, which its caller is to read
}

// ownership is one checkout under way, in the hands of whoever finishes it under this epoch.
type ownership struct {
	id, clientID string
	lines        []inventory.Line
	key          string // the Idempotency-Key that TX 2 answers; empty: none
	state        State
	epoch        int
	// until is when the lease has expired for certain, by this process's clock. It is measured from before the
	// lease was written, so it is early rather than late.
	until time.Time
}

func (o *ownership) reservation() inventory.Reservation {
	return inventory.Reservation{CheckoutID: o.id, Lines: o.lines}
}

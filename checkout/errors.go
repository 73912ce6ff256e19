package checkout

import (
	"errors"
	"fmt"
)

var (
	// ErrDeclined means that the payment service declined; it comes as a *ReasonError. The cart is
	// as before.
	ErrDeclined = errors.New("payment declined")
	// ErrUnpaid means that the payment service could not be reached, or that a charge was voided
	// because its outcome was unknown; it comes as a *ReasonError. Nothing is charged and the cart
	// is as before.
	ErrUnpaid = errors.New("payment not completed")
	// ErrRefunded means that a paid checkout was refunded because on hand was lowered during the
	// payment; it comes as a *ReasonError. The cart is as before.
	ErrRefunded = errors.New("payment refunded")
	// ErrPending means that the outcome of a payment or of a refund is not known yet; it comes as a
	// *PendingError.
	ErrPending = errors.New("payment pending")
	// ErrBusy means that as many checkouts are in flight, or as many lines of theirs, as may be;
	// nothing was done.
	ErrBusy = errors.New("too many checkouts in flight")
	// ErrDraining means that this instance is shutting down; nothing was done.
	ErrDraining = errors.New("shutting down")
	// ErrNotCancellable means that the checkout is not committed, began too long ago, or that the
	// payment service refused the refund; it comes as a *ReasonError.
	ErrNotCancellable = errors.New("the checkout cannot be cancelled")
	// ErrNotFound means that the journal has no such checkout.
	ErrNotFound = errors.New("no such checkout")
)

// A ReasonError is ErrDeclined, ErrUnpaid, ErrRefunded or ErrNotCancellable with its reason.
type ReasonError struct {
	Err    error
	Reason string // for people; may be empty
}

func (e *ReasonError) Error() string {
	if e.Reason == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + ": " + e.Reason
}

// Unwrap returns the error without its reason.
func (e *ReasonError) Unwrap() error { return e.Err }

// PendingError names a checkout whose payment, or whose refund, is not known yet. It is an
// ErrPending.
type PendingError struct {
	CheckoutID string
	Cancelling bool
}

func (e *PendingError) Error() string {
	unknown := "payment"
	if e.Cancelling {
		unknown = "refund"
	}
	return fmt.Sprintf("the %s of checkout %s is not known yet", unknown, e.CheckoutID)
}

// Is makes it an ErrPending.
func (e *PendingError) Is(target error) bool { return target == ErrPending }

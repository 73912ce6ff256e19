package checkout

import (
	"errors"
	"fmt"
)

var (
	// ErrDeclined means that the payment service declined; it comes as a *DeclinedError. The cart
	// is as before.
	ErrDeclined = errors.New("payment declined")
	// ErrUnpaid means that the payment service could not be reached, or that a charge was voided
	// because its outcome was unknown; it comes as an *UnpaidError. Nothing is charged and the cart
	// is as before.
	ErrUnpaid = errors.New("payment not completed")
	// ErrRefunded means that a paid checkout was refunded because on hand was lowered during the
	// payment; it comes as a *RefundedError. The cart is as before.
	ErrRefunded = errors.New("payment refunded")
	// ErrPending means that the outcome of a payment or of a refund is not known yet; it comes as a
	// *PendingError or a *CancelPendingError.
	ErrPending = errors.New("payment pending")
	// ErrBusy means that the limit of checkouts in flight is reached; nothing was done.
	ErrBusy = errors.New("too many checkouts in flight")
	// ErrDraining means that this instance is shutting down; nothing was done.
	ErrDraining = errors.New("shutting down")
	// ErrNotCancellable means that the checkout is not committed, began too long ago, or that the
	// payment service refused the refund; it comes as a *NotCancellableError.
	ErrNotCancellable = errors.New("the checkout cannot be cancelled")
	// ErrNotFound means that the journal has no such checkout.
	ErrNotFound = errors.New("no such checkout")
)

// DeclinedError says why the gateway declined. It is an ErrDeclined.
type DeclinedError struct{ Reason string }

func (e *DeclinedError) Error() string { return withReason(ErrDeclined, e.Reason) }

// Is makes it an ErrDeclined.
func (e *DeclinedError) Is(target error) bool { return target == ErrDeclined }

// UnpaidError says why the payment was not completed. It is an ErrUnpaid.
type UnpaidError struct{ Reason string }

func (e *UnpaidError) Error() string { return withReason(ErrUnpaid, e.Reason) }

// Is makes it an ErrUnpaid.
func (e *UnpaidError) Is(target error) bool { return target == ErrUnpaid }

// RefundedError says why the payment was refunded. It is an ErrRefunded.
type RefundedError struct{ Reason string }

func (e *RefundedError) Error() string { return withReason(ErrRefunded, e.Reason) }

// Is makes it an ErrRefunded.
func (e *RefundedError) Is(target error) bool { return target == ErrRefunded }

// PendingError names a checkout whose payment is not known yet. It is an ErrPending.
type PendingError struct{ CheckoutID string }

func (e *PendingError) Error() string {
	return fmt.Sprintf("the payment of checkout %s is not known yet", e.CheckoutID)
}

// Is makes it an ErrPending.
func (e *PendingError) Is(target error) bool { return target == ErrPending }

// CancelPendingError names a checkout whose refund is not known yet. It is an ErrPending.
type CancelPendingError struct{ CheckoutID string }

func (e *CancelPendingError) Error() string {
	return fmt.Sprintf("the refund of checkout %s is not known yet; ask again", e.CheckoutID)
}

// Is makes it an ErrPending.
func (e *CancelPendingError) Is(target error) bool { return target == ErrPending }

// NotCancellableError says why a checkout cannot be cancelled. It is an ErrNotCancellable.
type NotCancellableError struct{ Reason string }

func (e *NotCancellableError) Error() string { return withReason(ErrNotCancellable, e.Reason) }

// Is makes it an ErrNotCancellable.
func (e *NotCancellableError) Is(target error) bool { return target == ErrNotCancellable }

func withReason(err error, reason string) string {
	if reason == "" {
		return err.Error()
	}
	return err.Error() + ": " + reason
}

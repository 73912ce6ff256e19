package checkout

import (
	"errors"
	"fmt"
)

var (
	// ErrDeclined means that the payment was declined; it comes as a *DeclinedError. The cart is as before.
	ErrDeclined = errors.New("payment declined")
	// ErrVoided means that the payment was voided or refunded; it comes as a *VoidedError. The cart is as before.
	ErrVoided = errors.New("payment voided")
	// ErrPending means that the payment's outcome is not known yet; it comes as a *PendingError.
	ErrPending = errors.New("payment pending")
	// ErrBusy means that as many checkouts are in flight as may be; nothing was done.
	ErrBusy = errors.New("too many checkouts in flight")
	// ErrDraining means that this instance is shutting down; nothing was done.
	ErrDraining = errors.New("shutting down")
	// ErrNotFound means that the journal has no such checkout.
	ErrNotFound = errors.New("no such checkout")
)

// DeclinedError says why the gateway declined. It is an ErrDeclined.
type DeclinedError struct{ Reason string }

func (e *DeclinedError) Error() string { return withReason(ErrDeclined, e.Reason) }

// Is makes it an ErrDeclined.
func (e *DeclinedError) Is(target error) bool { return target == ErrDeclined }

// VoidedError says why the payment was voided. It is an ErrVoided.
type VoidedError struct{ Reason string }

func (e *VoidedError) Error() string { return withReason(ErrVoided, e.Reason) }

// Is makes it an ErrVoided.
func (e *VoidedError) Is(target error) bool { return target == ErrVoided }

// PendingError names a checkout whose payment is not known yet. It is an ErrPending.
type PendingError struct{ CheckoutID string }

func (e *PendingError) Error() string {
	return fmt.Sprintf("the payment of checkout %s is not known yet; ask again with the same Idempotency-Key", e.CheckoutID)
}

// Is makes it an ErrPending.
func (e *PendingError) Is(target error) bool { return target == ErrPending }

func withReason(err error, reason string) string {
	if reason == "" {
		return err.Error()
	}
	return err.Error() + ": " + reason
}

package checkout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"cartwheel/payment"
)

// Cancel cancels a committed checkout: the payment service refunds it, then its units are on hand
// again, in that order and exactly once. It blocks until both are done or ctx ends. A cancellation
// that has begun goes on without its caller. A repeat gets the same answer.
//
// Errors, certain that nothing was done: ErrNotFound, ErrNotCancellable, ErrBusy, ErrDraining,
// queue.ErrFull, queue.ErrNotStarted, database.ErrUnavailable, database.ErrRowLocked. Not known
// yet: ErrPending once the cancellation has begun, queue.ErrUnanswered and
// database.ErrOutcomeUnknown before.
func (m *Manager) Cancel(ctx context.Context, checkoutID string) error {
	entry, err := m.Show(ctx, checkoutID)
	if err != nil {
		return err
	}
	if entry.State != Committed {
		err = cancelOutcome(journalResult{state: entry.State})
	} else if err = cancellable(entry); err == nil {
		err = m.beginCancel(ctx, entry)
	}
	if errors.Is(err, errOtherOwner) {
		return m.awaitCancel(ctx, checkoutID)
	}
	return err
}

// cancellable returns why a committed checkout cannot be cancelled, or nil.
func cancellable(entry Entry) error {
	switch {
	case entry.Damage != nil: // its lines are unknown, so nothing can be restocked
		return fmt.Errorf("cancel: %w", entry.Damage)
	case time.Since(entry.CreatedAt) > paymentMemory:
		return &ReasonError{ErrNotCancellable, "it was committed over 30 days ago"}
	}
	return nil
}

// beginCancel starts a cancellation and waits for its end, or until ctx ends.
func (m *Manager) beginCancel(ctx context.Context, entry Entry) error {
	cancellation, err := m.begin(payment.TraceOf(ctx), func(o *operation) error { return m.runCancellation(o, entry) })
	if err != nil {
		return err
	}
	return cancellation.wait(ctx, func(id string) error { return &PendingError{id, true} })
}

// runCancellation claims a committed checkout, has it refunded, and settles it by the payment
// service's answer. It returns errOtherOwner when another owner goes on, now or when the lease has
// ended.
func (m *Manager) runCancellation(o *operation, entry Entry) error {
	c := claimOf(entry, time.Now().Add(m.config.Lease))
	begun, err := m.settles.DoToEnd(o.submitCtx, c.clientID, settleJob{c, Cancelling, ""})
	if err != nil {
		return err
	}
	if !begun.byThisJob {
		return cancelOutcome(begun)
	}
	c.state, c.epoch = begun.state, begun.epoch
	o.claim.Store(c)

	ctx, cancel := context.WithDeadline(m.ownerCtx, c.until)
	defer cancel()
	end, err := m.refund(payment.WithTrace(ctx, o.trace), c)
	if err != nil {
		m.noteIfDraining(c)
		return errOtherOwner
	}
	return cancelOutcome(end)
}

// awaitCancel waits until another owner has ended a cancellation.
func (m *Manager) awaitCancel(ctx context.Context, checkoutID string) error {
	end, err := m.awaitRepeat(ctx, checkoutID)
	switch {
	case errors.Is(err, errStoppedWaiting):
		return &PendingError{checkoutID, true}
	case err != nil:
		return err
	}
	return cancelOutcome(end)
}

// cancelOutcome returns the result of a cancellation for its caller, or errOtherOwner.
func cancelOutcome(s journalResult) error {
	switch s.state {
	case Cancelled:
		return nil
	case Cancelling:
		return errOtherOwner
	case Committed:
		return &ReasonError{ErrNotCancellable, cmp.Or(s.reason, reasonRefused)}
	default:
		return &ReasonError{ErrNotCancellable, "it is " + string(s.state)}
	}
}

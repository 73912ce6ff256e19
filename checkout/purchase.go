package checkout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"cartwheel/cart"
	"cartwheel/inventory"
	"cartwheel/payment"
	"cartwheel/queue"
)

const (
	// firstRetry and lastRetry bound the pauses between two tries of a void, a refund or a settle.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
	// leaveGrace is the maximum time for which a caller, after its timeout, waits to learn that its
	// job was never started.
	leaveGrace = 100 * time.Millisecond
)

// An operation is a purchase or a cancellation from its admission to its end. It runs in a
// goroutine of its own and goes on when its caller disconnects.
type operation struct {
	trace payment.Trace // of the caller's request
	// submitCtx ends when the caller leaves or the owners must leave. A job that has not been
	// started is skipped then.
	submitCtx context.Context
	leave     context.CancelFunc
	claim     atomic.Pointer[claim] // nil until the journal has the claim
	done      chan struct{}         // closed at the end
	outcome   error                 // set before done is closed
}

// begin admits an operation and starts it. It is in flight until its end, for which Drain waits.
// Errors: ErrBusy, ErrDraining.
func (m *Manager) begin(trace payment.Trace, work func(*operation) error) (*operation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.draining.Load():
		return nil, ErrDraining
	case m.inFlight.Load() >= int64(m.config.InFlight):
		return nil, ErrBusy
	}
	m.inFlight.Add(1)
	o := &operation{trace: trace, done: make(chan struct{})}
	o.submitCtx, o.leave = context.WithCancel(m.ownerCtx)
	m.owners.Go(func() {
		defer m.inFlight.Add(-1)
		defer o.leave()
		o.outcome = work(o)
		close(o.done)
	})
	return o, nil
}

// wait waits for the end. When ctx ends first, it returns pending if the operation has a claim.
func (o *operation) wait(ctx context.Context, pending func(checkoutID string) error) error {
	select {
	case <-o.done:
		return o.outcome
	case <-ctx.Done():
	}
	o.leave()
	select {
	case <-o.done:
		return o.outcome
	case <-time.After(leaveGrace):
	}
	if c := o.claim.Load(); c != nil {
		return pending(c.id)
	}
	return fmt.Errorf("wait for the checkout: %w: %w", queue.ErrUnanswered, ctx.Err())
}

// buy reserves the cart, charges it and settles it. It returns the caller's result.
func (m *Manager) buy(o *operation, p cart.Purchase) error {
	job := reserveJob{p, time.Now()}
	c, err := m.reserves.DoToEnd(o.submitCtx, job.ClientID, job)
	for errors.Is(err, errDeferred) {
		c, err = m.reserves.DoToEnd(o.submitCtx, job.ClientID, job)
	}
	if err != nil {
		return err
	}
	o.claim.Store(c)
	size := c.lineBytes()
	m.lineBytes.Add(size)
	defer m.lineBytes.Add(-size)

	ctx, cancel := context.WithDeadline(m.ownerCtx, c.until)
	defer cancel()
	end, err := m.pay(payment.WithTrace(ctx, o.trace), c)
	if err != nil {
		m.noteIfDraining(c)
		end, err = m.awaitEnd(m.ownerCtx, c.id)
	}
	if err != nil {
		return &PendingError{CheckoutID: c.id}
	}
	return outcome(end.state, end.reason)
}

// pay charges a reserved checkout and settles it by the result. An error means that the owner has
// to give the claim up, or has lost it.
func (m *Manager) pay(ctx context.Context, c *claim) (journalResult, error) {
	job, err := m.charge(ctx, c)
	if err != nil {
		m.log.Warn("the outcome of a payment is not known; voiding it", "checkout", c.id, "error", err)
		return m.resolvePayment(ctx, c)
	}
	return m.finish(ctx, job)
}

// charge charges a checkout at the payment service. It returns the job that settles the checkout:
// to Committed when it was charged, else to RolledBack with the reason. An error means that the
// outcome is unknown.
func (m *Manager) charge(ctx context.Context, c *claim) (settleJob, error) {
	ctx, cancel := context.WithTimeout(ctx, m.config.PaymentTimeout)
	defer cancel()
	result, err := m.gateway.Charge(ctx, order(c))
	switch {
	case errors.Is(err, payment.ErrNotSent):
		// No void is needed: only this owner charges it, and TX 2 applies only while the claim is
		// this owner's.
		return settleJob{c, RolledBack, reasonOf(reasonNotCharged, "the payment service could not be reached")}, nil
	case err != nil:
		return settleJob{}, err
	}
	switch result.Status {
	case payment.Approved:
		return settleJob{c, Committed, ""}, nil
	case payment.Declined:
		return settleJob{c, RolledBack, reasonOf(reasonDeclined, result.Reason)}, nil
	case payment.Voided:
		return settleJob{c, RolledBack, reasonOf(reasonNotCharged, "it was voided before it was charged")}, nil
	default:
		return settleJob{}, fmt.Errorf("the payment service answered a charge with %q", result.Status)
	}
}

func order(c *claim) payment.Order {
	return payment.Order{CheckoutID: c.id, ClientID: c.clientID, Reference: c.reference, Items: itemsOf(c.lines)}
}

func itemsOf(lines []inventory.Line) []payment.Item {
	items := make([]payment.Item, len(lines))
	for i, line := range lines {
		items[i] = payment.Item{ProductID: line.ProductID, Quantity: line.Quantity}
	}
	return items
}

// resolvePayment voids the payment unless it was charged already, and settles the checkout by the
// answer. It tries until there is an answer or ctx ends, because stock is never released on an
// unknown outcome. Its errors are ctx's and those of finish.
func (m *Manager) resolvePayment(ctx context.Context, c *claim) (journalResult, error) {
	for pause := range retries(ctx) {
		result, err := m.gateway.Void(ctx, c.id)
		switch {
		case err != nil:
			m.log.Debug("a void was not answered", "checkout", c.id, "retry_in", pause.String(), "error", err)
		case result.Status == payment.Approved:
			return m.finish(ctx, settleJob{c, Committed, ""})
		case result.Status == payment.Voided:
			return m.finish(ctx, settleJob{c, RolledBack, reasonOf(reasonNotCharged, "the payment could not be completed")})
		}
	}
	return journalResult{}, ctx.Err()
}

// finish settles a checkout, and refunds it when the quantity on hand does not suffice any more for
// its sale. It tries until ctx ends, and returns the journal's last state. An error means that the
// owner has to give the claim up (ctx ended) or has lost it (errOtherOwner).
func (m *Manager) finish(ctx context.Context, job settleJob) (journalResult, error) {
	c := job.claim
	for range retries(ctx) {
		result, err := m.settles.DoToEnd(ctx, c.clientID, job)
		switch {
		case err != nil:
			m.log.Warn("a checkout could not be settled yet", "checkout", c.id, "error", err)
			continue
		case result.state.Settled():
			return result, nil
		case result.state == Refunding && result.epoch == c.epoch:
			m.log.Error("refunding a paid checkout: less is on hand than it reserved, by a manual SQL edit or a second writer of a cluster",
				"checkout", c.id)
			c.state = Refunding
			return m.refund(ctx, c)
		}
		return journalResult{}, errOtherOwner
	}
	return journalResult{}, ctx.Err()
}

// errOtherOwner means that another owner finishes the checkout: it has claimed it, or will when
// this owner's lease has ended.
var errOtherOwner = errors.New("another owner finishes the checkout")

// refund refunds a checkout, with retries, and then rolls it back, or ends its cancellation. A
// refusal ends a cancellation as well. Its errors are ctx's and those of finish.
func (m *Manager) refund(ctx context.Context, c *claim) (journalResult, error) {
	for range retries(ctx) {
		result, err := m.gateway.Refund(ctx, c.id)
		switch {
		case err != nil:
		case result.Status == payment.Refunded && c.state == Cancelling:
			return m.finish(ctx, settleJob{c, Cancelled, ""})
		case result.Status == payment.Refunded:
			return m.finish(ctx, settleJob{c, RolledBack, stockLowered})
		case result.Status == payment.Refused && c.state == Cancelling:
			return m.finish(ctx, settleJob{c, Committed, reasonOf(reasonRefused, result.Reason)})
		default:
			err = fmt.Errorf("the payment service answered a refund with %q: %s", result.Status, result.Reason)
		}
		m.log.Warn("a refund was not made", "checkout", c.id, "error", err)
	}
	return journalResult{}, ctx.Err()
}

// retries yields the pause that follows each try, and pauses, with jitter, until ctx ends. The
// first try comes at once.
func retries(ctx context.Context) func(yield func(time.Duration) bool) {
	return func(yield func(time.Duration) bool) {
		for longest := firstRetry; ctx.Err() == nil; longest = min(2*longest, lastRetry) {
			pause := longest/2 + rand.N(longest/2)
			if !yield(pause) || !sleep(ctx, pause) {
				return
			}
		}
	}
}

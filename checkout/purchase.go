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
	// leaveGrace is how long a caller whose time is over waits to learn that its job was never
	// started.
	leaveGrace = 100 * time.Millisecond
)

// A purchase is one checkout from its admission to its end. It runs in a goroutine of its own and
// goes on when its caller disconnects.
type purchase struct {
	m       *Manager
	job     reserveJob
	trace   payment.Trace
	queued  context.Context // ends when the caller leaves: a job that has not been started is skipped then
	leave   context.CancelFunc
	claim   atomic.Pointer[claim] // nil until TX 1 is committed
	done    chan struct{}         // closed at the end
	outcome error                 // set before done is closed
}

func (m *Manager) newPurchase(p cart.Purchase, trace payment.Trace) *purchase {
	b := &purchase{
		m:     m,
		job:   reserveJob{p, time.Now()},
		trace: trace,
		done:  make(chan struct{}),
	}
	b.queued, b.leave = context.WithCancel(m.owning)
	return b
}

// wait waits for the end, or says what is known when ctx ends.
func (b *purchase) wait(ctx context.Context) error {
	select {
	case <-b.done:
		return b.outcome
	case <-ctx.Done():
	}
	b.leave()
	grace := time.NewTimer(leaveGrace)
	defer grace.Stop()
	select {
	case <-b.done:
		return b.outcome
	case <-grace.C:
	}
	if c := b.claim.Load(); c != nil {
		return &PendingError{c.id}
	}
	return fmt.Errorf("reserve: %w: %w", queue.ErrUnanswered, ctx.Err())
}

func (b *purchase) run() {
	defer b.leave()
	b.outcome = b.buy()
	close(b.done)
}

func (b *purchase) buy() error {
	m := b.m
	c, err := m.reserves.Finish(b.queued, b.job.ClientID, b.job)
	for errors.Is(err, errDeferred) {
		c, err = m.reserves.Finish(b.queued, b.job.ClientID, b.job)
	}
	if err != nil {
		return err
	}
	b.claim.Store(c)

	ctx, cancel := context.WithDeadline(m.owning, c.until)
	defer cancel()
	end, err := m.pay(payment.WithTrace(ctx, b.trace), c)
	if err != nil {
		end, err = m.awaitOther(c)
	}
	if err != nil {
		return &PendingError{c.id}
	}
	return outcome(end.state, end.reason)
}

// pay charges a reserved checkout and settles it by the result. An error means that the owner has
// to give the claim up, or has lost it.
func (m *Manager) pay(ctx context.Context, c *claim) (settled, error) {
	result, err := m.charge(ctx, c)
	if err != nil {
		m.warnings.warn(m.log, "the outcome of a payment is not known; voiding it", "checkout", c.id, "error", err)
		result, err = m.void(ctx, c)
	}
	if err != nil {
		return settled{}, err
	}
	return m.finish(ctx, c, result)
}

// A chargeResult is what the payment service knows of a charge.
type chargeResult struct {
	approved bool
	reason   string // why not; empty when approved
}

// charge charges a checkout at the payment service. An error means that the outcome is unknown.
func (m *Manager) charge(ctx context.Context, c *claim) (chargeResult, error) {
	ctx, cancel := context.WithTimeout(ctx, m.config.PaymentTimeout)
	defer cancel()
	result, err := m.gateway.Charge(ctx, order(c))
	switch {
	case errors.Is(err, payment.ErrNotSent):
		// Only this owner charges it, and TX 2 applies only while the claim is this owner's.
		return chargeResult{reason: reasonOf(reasonVoided, "the payment service could not be reached")}, nil
	case err != nil:
		return chargeResult{}, err
	}
	switch result.Status {
	case payment.Approved:
		return chargeResult{approved: true}, nil
	case payment.Declined:
		return chargeResult{reason: reasonOf(reasonDeclined, result.Reason)}, nil
	case payment.Voided:
		return chargeResult{reason: reasonOf(reasonVoided, "it was voided before it was charged")}, nil
	default:
		return chargeResult{}, fmt.Errorf("the payment service answered a charge with %q", result.Status)
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

// void voids the payment: the payment service then never charges it. It tries until there is an
// answer or ctx ends, because stock is never released on an unknown outcome.
func (m *Manager) void(ctx context.Context, c *claim) (chargeResult, error) {
	for pause := range retries(ctx) {
		result, err := m.gateway.Void(ctx, c.id)
		switch {
		case err != nil:
			m.log.Debug("a void was not answered", "checkout", c.id, "retry_in", pause.String(), "error", err)
		case result.Status == payment.Approved:
			return chargeResult{approved: true}, nil
		case result.Status == payment.Voided:
			return chargeResult{reason: reasonOf(reasonVoided, "the payment could not be completed")}, nil
		}
	}
	return chargeResult{}, ctx.Err()
}

// finish settles a checkout by the result of its charge, and refunds it when on hand does not
// suffice any more. It returns what the journal says in the end. An error means that the owner has
// to give the claim up, or has lost it.
func (m *Manager) finish(ctx context.Context, c *claim, result chargeResult) (settled, error) {
	for range retries(ctx) {
		end, err := m.settles.Finish(ctx, c.clientID, settleJob{c, result})
		switch {
		case err != nil:
			m.warnings.warn(m.log, "a checkout could not be settled yet", "checkout", c.id, "error", err)
			continue
		case end.state.Settled():
			return end, nil
		case end.state == Refunding && end.epoch == c.epoch:
			m.log.Error("on hand was lowered below reserved by a manual SQL edit or by a second writer of a cluster; "+
				"refunding a paid checkout", "checkout", c.id)
			c.state = Refunding
			return m.refund(ctx, c)
		}
		return settled{}, errClaimLost
	}
	return settled{}, ctx.Err()
}

// errClaimLost means that another owner has claimed the checkout.
var errClaimLost = errors.New("another owner claimed the checkout")

// refund refunds a checkout, with retries, and then rolls it back.
func (m *Manager) refund(ctx context.Context, c *claim) (settled, error) {
	for range retries(ctx) {
		result, err := m.gateway.Refund(ctx, c.id)
		if err == nil && result.Status != payment.Refunded {
			err = fmt.Errorf("the payment service answered a refund with %q: %s", result.Status, result.Reason)
		}
		if err != nil {
			m.warnings.warn(m.log, "a refund was not made", "checkout", c.id, "error", err)
			continue
		}
		return m.finish(ctx, c, chargeResult{reason: stockLowered})
	}
	return settled{}, ctx.Err()
}

// retries yields the pause that follows each try, and pauses, with jitter, until ctx ends. The
// first try comes at once.
func retries(ctx context.Context) func(yield func(time.Duration) bool) {
	return func(yield func(time.Duration) bool) {
		for longest := firstRetry; ctx.Err() == nil; longest = min(2*longest, lastRetry) {
			pause := longest/2 + rand.N(longest/2)
			if !yield(pause) {
				return
			}
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
	}
}

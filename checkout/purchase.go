package checkout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"cartwheel/cart"
	"cartwheel/payment"
	"cartwheel/queue"
)

const (
	// firstRetry and lastRetry bound the pauses between two tries of a void, a refund or a settle.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
	// leaveGrace is how long a caller whose time is over waits to learn that its job was never started.
	leaveGrace = 100 * time.Millisecond
)

// A purchase is one checkout from its admission to its end, in a goroutine of its own: whoever asked for it may leave.
type purchase struct {
	m       *Manager
	job     reserveJob
	queued  context.Context // ends when the caller leaves: a job that has not been started is skipped then
	leave   context.CancelFunc
	begun   atomic.Bool   // TX 1 is committed
	done    chan struct{} // closed at the end
	outcome error         // set before done is closed
}

func (m *Manager) newPurchase(p cart.Purchase) (*purchase, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make a checkout ID: %w", err)
	}
	b := &purchase{
		m:    m,
		job:  reserveJob{checkoutID: id.String(), clientID: p.ClientID, key: p.Key},
		done: make(chan struct{}),
	}
	b.queued, b.leave = context.WithCancel(m.owning)
	return b, nil
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
	if b.begun.Load() {
		return &PendingError{b.job.checkoutID}
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
	o, err := m.reserves.Finish(b.queued, b.job.clientID, b.job)
	for errors.Is(err, errDeferred) {
		o, err = m.reserves.Finish(b.queued, b.job.clientID, b.job)
	}
	if err != nil {
		return err
	}
	b.begun.Store(true)

	ctx, cancel := context.WithDeadline(m.owning, o.until)
	defer cancel()
	end, err := m.pay(ctx, o)
	if err != nil {
		end, err = m.watch(o)
	}
	if err != nil {
		return &PendingError{o.id}
	}
	return outcome(end.state, end.reason)
}

// pay charges a checkout that is reserved, and settles what comes of it. An error means that the owner has to leave
// it, or lost it already.
func (m *Manager) pay(ctx context.Context, o *ownership) (settled, error) {
	verdict, err := m.charge(ctx, o)
	if err != nil {
		m.trouble.warn(m.log, "the outcome of a payment is not known; voiding it", "checkout", o.id, "error", err)
		verdict, err = m.void(ctx, o)
	}
	if err != nil {
		return settled{}, err
	}
	return m.finish(ctx, o, verdict)
}

// A verdict is what the gateway said.
type verdict struct {
	sold   bool
	reason string
}

// charge asks the gateway for the money. An error means that the outcome is unknown.
func (m *Manager) charge(ctx context.Context, o *ownership) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, m.config.PaymentTimeout)
	defer cancel()
	result, err := m.gateway.Charge(ctx, order(o))
	switch {
	case errors.Is(err, payment.ErrNotSent):
		// Nobody but this owner ever charges it, and TX 2 applies only while it is this owner's.
		return verdict{reason: reasonOf(reasonVoided, "the payment gateway could not be reached")}, nil
	case err != nil:
		return verdict{}, err
	}
	switch result.Status {
	case payment.Approved:
		return verdict{sold: true}, nil
	case payment.Declined:
		return verdict{reason: reasonOf(reasonDeclined, result.Reason)}, nil
	case payment.Voided:
		return verdict{reason: reasonOf(reasonVoided, "it was voided before it was charged")}, nil
	}
	return verdict{}, fmt.Errorf("the gateway answered a charge with %q", result.Status)
}

func order(o *ownership) payment.Order {
	items := make([]payment.Item, len(o.lines))
	for i, line := range o.lines {
		items[i] = payment.Item{ProductID: line.ProductID, Quantity: line.Quantity}
	}
	return payment.Order{CheckoutID: o.id, ClientID: o.clientID, Items: items}
}

// void asks the gateway to see to it that the checkout is never charged, until it answers or ctx ends: stock is
// never released on an unknown outcome.
func (m *Manager) void(ctx context.Context, o *ownership) (verdict, error) {
	for pause := range retries(ctx) {
		result, err := m.gateway.Void(ctx, o.id)
		switch {
		case err != nil:
			m.log.Debug("a void was not answered", "checkout", o.id, "again_in", pause, "error", err)
		case result.Status == payment.Approved:
			return verdict{sold: true}, nil
		case result.Status == payment.Voided:
			return verdict{reason: reasonOf(reasonVoided, "the payment could not be completed")}, nil
		}
	}
	return verdict{}, ctx.Err()
}

// finish settles a checkout by its verdict, refunds it where the stock does not suffice any more, and returns what
// the journal says in the end. An error means that its owner has to leave it, or lost it already.
func (m *Manager) finish(ctx context.Context, o *ownership, v verdict) (settled, error) {
	for range retries(ctx) {
		end, err := m.settles.Finish(ctx, o.clientID, settleJob{o, v.sold, v.reason})
		switch {
		case err != nil:
			m.trouble.warn(m.log, "a checkout could not be settled yet", "checkout", o.id, "error", err)
			continue
		case end.state.Settled():
			return end, nil
		case end.state == Refunding && end.epoch == o.epoch:
			m.log.Error("stock was lowered by hand below what is held; refunding a paid checkout", "checkout", o.id)
			o.state = Refunding
			return m.refund(ctx, o)
		}
		return settled{}, errNotOurs
	}
	return settled{}, ctx.Err()
}

// errNotOurs means that another owner has the checkout by now.
var errNotOurs = errors.New("another owner claimed the checkout")

// refund gives the money of a checkout back that is refunding, as often as it takes, and then rolls it back.
func (m *Manager) refund(ctx context.Context, o *ownership) (settled, error) {
	for range retries(ctx) {
		if err := m.gateway.Refund(ctx, o.id); err != nil {
			m.trouble.warn(m.log, "a refund was not answered", "checkout", o.id, "error", err)
			continue
		}
		return m.finish(ctx, o, verdict{reason: stockLowered})
	}
	return settled{}, ctx.Err()
}

// retries yields the pause that follows each try, and pauses, with jitter, until ctx ends. The first try comes at once.
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

package payment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// Results older than the window are forgotten, a bucket at a time.
	breakerWindow = 10 * time.Second
	breakerBucket = time.Second

	// The breaker opens after this many failures in a row, all of them in the window: an outage.
	breakerConsecutive = 10
	// It also opens when half or more of at least this many results in the window are failures. One
	// checkout that the gateway cannot digest does not get there, however often it is asked about.
	breakerMinimum = 20
)

// How a call that was let in ended, when not with an answer.
var (
	errGatewayFailed = errors.New("the gateway failed")
	errCallerLeft    = errors.New("the caller left")
)

// breaker leaves a failing gateway alone for a moment at a time. Closed, every call passes. Open, none
// does. After its time open it is half-open: the next call of any kind, be it a charge, a void or a
// refund, is the probe whose end closes or opens it, and no other passes meanwhile. So it needs neither a
// timer nor a charge to close again.
type breaker struct {
	steps *gobreaker.TwoStepCircuitBreaker[struct{}]
	// generation counts the changes of state: what began before a change says nothing about the time after.
	generation atomic.Uint64
}

func newBreaker(name string, openFor time.Duration, log *slog.Logger, changed func(state string)) *breaker {
	b := &breaker{}
	b.steps = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         name,
		MaxRequests:  1, // one probe at a time, one success closes
		Interval:     breakerWindow,
		BucketPeriod: breakerBucket,
		Timeout:      openFor,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			results := counts.TotalFailures + counts.TotalSuccesses
			return counts.ConsecutiveFailures >= breakerConsecutive ||
				results >= breakerMinimum && counts.TotalFailures*2 >= results
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errCallerLeft) },
		// Called with the breaker's lock held.
		OnStateChange: func(_ string, from, to gobreaker.State) {
			b.generation.Add(1)
			level := slog.LevelInfo
			if to == gobreaker.StateOpen {
				level = slog.LevelWarn
			}
			log.Log(context.Background(), level, "payment gateway's circuit breaker changed",
				"gateway", name, "from", from.String(), "to", to.String())
			if changed != nil {
				changed(to.String())
			}
		},
	})
	return b
}

// enter lets a call in, or answers ErrUnavailable. Whoever was let in must call leave exactly once, with
// nil for an answer, errGatewayFailed or errCallerLeft.
func (b *breaker) enter() (leave func(error), err error) {
	if b.steps.State() != gobreaker.StateClosed {
		leave, err := b.steps.Allow()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return leave, nil
	}
	// A result counts at the time it comes, not at the time its call began: calls that hang for longer than
	// the window would otherwise never count.
	generation := b.generation.Load()
	return func(result error) {
		if b.generation.Load() != generation {
			return
		}
		if done, err := b.steps.Allow(); err == nil {
			done(result)
		}
	}, nil
}

// open says whether calls are refused until the breaker's time is over.
func (b *breaker) open() bool { return b.steps.State() == gobreaker.StateOpen }

// available answers ErrUnavailable when enter would.
func (b *breaker) available() error {
	switch b.steps.State() {
	case gobreaker.StateClosed:
	case gobreaker.StateOpen:
		return fmt.Errorf("%w: %w", ErrUnavailable, gobreaker.ErrOpenState)
	case gobreaker.StateHalfOpen:
		if counts := b.steps.Counts(); counts.Requests > counts.TotalExclusions {
			return fmt.Errorf("%w: %w", ErrUnavailable, gobreaker.ErrTooManyRequests)
		}
	}
	return nil
}

package payment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// Results older than the window are forgotten, a bucket at a time.
	breakerWindow = 10 * time.Second
	breakerBucket = time.Second

	// The breaker opens after this many failures in a row, all of them in the window: an outage.
	breakerConsecutive = 10
	// It also opens when half or more of at least this many results in the window are failures.
	//
	// For both, a checkout fails once in a window. One that the gateway cannot digest is asked about without
	// end, and must not stop the shop.
	breakerMinimum = 20

	// promiseLasts is how long the probe is kept for the one caller whom Available told to go on: enough for
	// a checkout to get to its charge, and soon over when it ends before that, as of an empty cart.
	promiseLasts = time.Second
	// maxRemembered bounds how many failed checkouts are known by ID.
	maxRemembered = 1024
)

// How a call that was let in ended, when not with an answer.
var (
	errGatewayFailed = errors.New("the gateway failed")
	errCallerLeft    = errors.New("the caller left")
)

// breaker leaves a failing gateway alone for a moment at a time. Closed, every call passes. Open, none
// does. After its time open it is half-open, and lets a probe pass whose end closes or opens it: the next
// call of any kind, be it a charge, a void or a refund. So it needs neither a timer nor a charge to close
// again. Half-open it also lets pass, beside a void that is the probe:
//
//   - the one charge that available promised to let in, which is a probe too;
//   - once in openFor, a void or a refund of a checkout whose probe failed already. Its answer closes the
//     breaker, but its failure says nothing new: it may be the checkout, not the gateway, that is ill.
type breaker struct {
	openFor time.Duration

	mu    sync.Mutex // guards what follows, and is held around every call of steps, and so of its hooks
	steps *gobreaker.TwoStepCircuitBreaker[struct{}]
	// generation counts the changes of state: what began before a change says nothing about the time after.
	generation uint64

	// Closed: when a failure of each checkout was last counted.
	counted map[string]time.Time

	// Half-open:
	probes        int                 // under way
	promisedUntil time.Time           // to one caller of available that has not charged yet
	nextRepeat    time.Time           // when a checkout in probed may pass again
	probed        map[string]struct{} // checkouts whose probe failed since the breaker was closed
}

func newBreaker(name string, openFor time.Duration, log *slog.Logger, changed func(state string)) *breaker {
	b := &breaker{
		openFor: openFor,
		counted: make(map[string]time.Time),
		probed:  make(map[string]struct{}),
	}
	b.steps = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         name,
		MaxRequests:  1, // one success closes
		Interval:     breakerWindow,
		BucketPeriod: breakerBucket,
		Timeout:      openFor,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			results := counts.TotalFailures + counts.TotalSuccesses
			return counts.ConsecutiveFailures >= breakerConsecutive ||
				results >= breakerMinimum && counts.TotalFailures*2 >= results
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			b.reset(to)
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

// reset forgets what was only true of the state before.
func (b *breaker) reset(to gobreaker.State) {
	b.generation++
	clear(b.counted)
	b.probes, b.promisedUntil = 0, time.Time{}
	if to == gobreaker.StateClosed {
		clear(b.probed)
	}
}

// enter lets a call in, or answers ErrUnavailable. Whoever was let in must call leave exactly once, with
// nil for an answer, errGatewayFailed or errCallerLeft.
func (b *breaker) enter(checkoutID string, charge bool) (leave func(error), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := true // whether a failure does
	switch b.steps.State() {
	case gobreaker.StateClosed:
	case gobreaker.StateOpen:
		return nil, unavailable(gobreaker.ErrOpenState)
	case gobreaker.StateHalfOpen:
		now := time.Now()
		_, repeat := b.probed[checkoutID]
		switch {
		case charge && now.Before(b.promisedUntil):
			b.promisedUntil = time.Time{}
			b.probes++
		case repeat && now.Before(b.nextRepeat), !repeat && b.probes > 0:
			return nil, unavailable(gobreaker.ErrTooManyRequests)
		case repeat:
			b.nextRepeat = now.Add(b.openFor)
			counts = false
		default:
			b.probes++
		}
	}
	generation := b.generation
	return func(result error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.generation == generation {
			b.end(checkoutID, counts, result)
		}
	}, nil
}

// end takes in the result of a call that was let in in the state that still lasts. A result counts at the
// time it comes, not at the time its call began: calls that hang for longer than the window would
// otherwise never count.
func (b *breaker) end(checkoutID string, counts bool, result error) {
	closed := b.steps.State() == gobreaker.StateClosed
	if !closed && counts {
		b.probes--
	}
	switch {
	case errors.Is(result, errCallerLeft):
		return
	case result == nil:
	case closed:
		if !b.news(checkoutID) {
			return
		}
	case !counts:
		return
	default:
		if len(b.probed) >= maxRemembered {
			clear(b.probed) // each may open the breaker once more
		}
		b.probed[checkoutID] = struct{}{}
	}
	if done, err := b.steps.Allow(); err == nil {
		done(result)
	}
}

// news reports whether a failure of the checkout is to be counted, and notes that it is.
func (b *breaker) news(checkoutID string) bool {
	now := time.Now()
	old := func(_ string, at time.Time) bool { return now.Sub(at) >= breakerWindow }
	if at, ok := b.counted[checkoutID]; ok && !old(checkoutID, at) {
		return false
	}
	if len(b.counted) >= maxRemembered {
		maps.DeleteFunc(b.counted, old)
	}
	if len(b.counted) < maxRemembered { // beyond it, a few repeats more do not matter
		b.counted[checkoutID] = now
	}
	return true
}

// open says whether calls are refused until the breaker's time is over.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.steps.State() == gobreaker.StateOpen
}

// available answers nil to whoever may go on to a charge, or ErrUnavailable. Half-open, one caller at a
// time may, and only while no probe is under way; the next one when promiseLasts is over and no charge
// has come.
func (b *breaker) available() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.steps.State() {
	case gobreaker.StateClosed:
	case gobreaker.StateOpen:
		return unavailable(gobreaker.ErrOpenState)
	case gobreaker.StateHalfOpen:
		now := time.Now()
		if b.probes > 0 || now.Before(b.promisedUntil) {
			return unavailable(gobreaker.ErrTooManyRequests)
		}
		b.promisedUntil = now.Add(promiseLasts)
	}
	return nil
}

func unavailable(why error) error { return fmt.Errorf("%w: %w", ErrUnavailable, why) }

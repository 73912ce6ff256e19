package payment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// breakerFailures is the number of failed charges in a row that opens the breaker.
	breakerFailures = 10
	// breakerMinimum is the number of charges in the window from which on a failure rate of one
	// half opens the breaker.
	breakerMinimum = 20
	// breakerWindows is the length of the window in payment timeouts. It must exceed one: a charge
	// that hangs until its timeout counts as of its beginning.
	breakerWindows = 3
	// breakerBuckets is the number of steps in which the window moves.
	breakerBuckets = 10
	// breakerOpen is how long the breaker stays open before a probe.
	breakerOpen = 2 * time.Second
)

// newBreaker returns the circuit breaker around charges. Voids and refunds pass beside it: they end
// checkouts that have begun. Open, it refuses charges; then, half-open, it lets one charge through
// as a probe, whose success closes it and whose failure opens it again.
func newBreaker(name string, options Options) *gobreaker.CircuitBreaker[Result] {
	window := breakerWindows * options.Timeout
	return gobreaker.NewCircuitBreaker[Result](gobreaker.Settings{
		Name:         name,
		MaxRequests:  1,
		Interval:     window,
		BucketPeriod: window / breakerBuckets,
		Timeout:      breakerOpen,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			results := counts.TotalFailures + counts.TotalSuccesses
			return counts.ConsecutiveFailures >= breakerFailures ||
				results >= breakerMinimum && counts.TotalFailures*2 >= results
		},
		// A caller that left says nothing about the payment service.
		IsExcluded: func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			level := slog.LevelInfo
			if to == gobreaker.StateOpen {
				level = slog.LevelWarn
			}
			options.Log.Log(context.Background(), level, "payment circuit breaker changed",
				"gateway", name, "from", from.String(), "to", to.String())
			if options.Observe.BreakerChanged != nil {
				options.Observe.BreakerChanged(to.String())
			}
		},
	})
}

// Available implements [Gateway]: [ErrUnavailable] while the circuit breaker refuses every charge.
// It uses up no probe: callers that never charge, such as those with empty carts, do not delay
// recovery.
func (g *HTTPGateway) Available() error {
	if g.breaker.State() == gobreaker.StateOpen {
		return fmt.Errorf("%w: %w", ErrUnavailable, gobreaker.ErrOpenState)
	}
	return nil
}

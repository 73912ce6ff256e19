package payment

import (
	"context"
	"errors"
	"time"
)

// Observer is a set of hooks, each of which may be nil. They must be quick and must not call the
// gateway.
type Observer struct {
	// Began is told of every call before it is made: "charge", "void", "refund" or "lookup". Called
	// follows it.
	Began func(call string)
	// Called is told of every finished call, how it ended, and how long it took. The outcomes are
	// the result's status, "found" for a lookup, "not_sent", "cancelled" (by its caller) and
	// "unknown".
	Called func(call, outcome string, took time.Duration)
	// Retried is told of every further attempt of a call.
	Retried func(call string)
	// BreakerChanged is told the circuit breaker's new state: "closed", "half-open" or "open".
	BreakerChanged func(state string)
}

// measure makes a call and reports it to Began and Called.
func (o *Observer) measure(call string, send func() (Result, error)) (Result, error) {
	if o.Began != nil {
		o.Began(call)
	}
	started := time.Now()
	result, err := send()
	if o.Called != nil {
		o.Called(call, outcomeOf(call, result, err), time.Since(started))
	}
	return result, err
}

func outcomeOf(call string, result Result, err error) string {
	switch {
	case errors.Is(err, ErrNotSent):
		return "not_sent"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case err != nil:
		return "unknown"
	case call == lookup.name:
		return "found"
	default:
		return string(result.Status)
	}
}

package database

import (
	"errors"
	"time"
)

// Observer has hooks for metrics. A nil hook costs nothing. Hooks must be fast and safe for
// concurrent use.
type Observer struct {
	// Transacted is called when a transaction has ended. The duration includes its retries.
	Transacted func(end End, took time.Duration)

	// Retry is called before another attempt. number is the engine's error number ("1213" of a
	// MySQL-protocol server, "sqlite-5" of the embedded engine), "stale" for ErrRetry, or
	// "connection" where there is none. The values are few: those of errors that are retried.
	Retry func(number string)
}

// An End is how a transaction ended.
type End string

// The ends of a transaction.
const (
	EndCommitted   End = "committed"
	EndRolledBack  End = "rolled_back" // by its own work: there was nothing to write, or a rule said no
	EndRowLocked   End = "row_locked"
	EndUnavailable End = "unavailable"
	EndUnknown     End = "unknown" // the answer to the COMMIT was lost
)

// Ends returns all ends.
func Ends() []End {
	return []End{EndCommitted, EndRolledBack, EndRowLocked, EndUnavailable, EndUnknown}
}

func endOf(err error) End {
	switch {
	case err == nil:
		return EndCommitted
	case errors.Is(err, ErrOutcomeUnknown):
		return EndUnknown
	case errors.Is(err, ErrUnavailable):
		return EndUnavailable
	case errors.Is(err, ErrRowLocked):
		return EndRowLocked
	}
	return EndRolledBack
}

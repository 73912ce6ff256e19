package database

import (
	"errors"
	"time"
)

// Observer is told what becomes of transactions, for metrics. A hook that is nil costs nothing, not even a look at the
// clock. Hooks must be quick and safe to call at once from many goroutines.
type Observer struct {
	// Transacted: a transaction has ended so, after so long, its further attempts included.
	Transacted func(end End, took time.Duration)

	// Retry: an attempt failed and the next one begins. number is the engine's error number ("1213" of a MySQL-protocol
	// server, "sqlite-5" of the embedded engine), "stale" for ErrRetry, or "connection" where there is none. The values
	// are few: only errors that are worth another attempt get here.
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

// Ends are all there are.
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

package database

import (
	"errors"

	"cartwheel/database/engine"
)

// Observer has hooks for metrics.
type Observer = engine.Observer

// An End is how a transaction ended.
type End = engine.End

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

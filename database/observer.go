package database

import (
	"errors"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
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

func numberOf(err error) string {
	if errors.Is(err, ErrRetry) {
		return "stale"
	}
	if my, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return strconv.Itoa(int(my.Number))
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return "sqlite-" + strconv.Itoa(lite.Code()&0xff)
	}
	return "connection"
}

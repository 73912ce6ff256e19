package database

import (
	"errors"

	"cartwheel/database/engine"
	"cartwheel/database/mysql"
	"cartwheel/database/sqlite"
)

var (
	// ErrUnavailable means that the database could not be used, or that all attempts ended in
	// conflicts or took too long. Certainly nothing was done.
	ErrUnavailable = engine.ErrUnavailable
	// ErrOutcomeUnknown means that the answer to a COMMIT was lost and could not be found out in
	// time.
	ErrOutcomeUnknown = errors.New("the database went away during the commit")
	// ErrRowLocked means that another session keeps a row locked for longer than we wait. Nothing
	// was done.
	ErrRowLocked = errors.New("a row is locked by another session")
	// ErrRetry is for a transaction's own work to return when another transaction has changed what
	// it had read. All of it is then retried, as after a deadlock.
	ErrRetry = errors.New("another transaction changed the rows")
	// ErrNothingToWrite is for a transaction's own work to return when there is nothing to commit:
	// Transact rolls the transaction back, and succeeds.
	ErrNothingToWrite = errors.New("nothing to write")
	// ErrNoData means that there is no database yet, and that none was to be created.
	ErrNoData = engine.ErrNoData
	// ErrDataDirLocked means that another server or command has the data directory.
	ErrDataDirLocked = sqlite.ErrDataDirLocked
	// ErrMoved means that a data directory's data was moved to a MySQL server.
	ErrMoved = sqlite.ErrMoved
	// ErrInUse means that another program has the embedded engine's file open.
	ErrInUse = sqlite.ErrInUse
	// ErrNotEmbedded means that something was asked of a MySQL server that only the embedded
	// engine's file can give.
	ErrNotEmbedded = sqlite.ErrNotEmbedded
)

// faultOf says what err means.
func faultOf(err error) engine.Fault {
	fault, _ := faultAndNumber(err)
	return fault
}

// faultAndNumber is faultOf, with the engine's number for metrics.
func faultAndNumber(err error) (engine.Fault, string) {
	switch {
	case errors.Is(err, ErrRetry):
		return engine.Conflict, "stale"
	case errors.Is(err, errAttemptTooLong):
		return engine.Refused, ""
	}
	if fault, number := sqlite.Fault(err); number != "" {
		return fault, number
	}
	return mysql.Fault(err)
}

// rolledBack reports whether a COMMIT that the engine answered with err certainly had no effect.
func (db *DB) rolledBack(err error) bool {
	switch faultOf(err) {
	case engine.Conflict, engine.LockNotAvailable, engine.ReadOnly:
		return true
	case engine.Refused:
		return db.Embedded() // what SQLite refuses stays open or is rolled back
	default:
		return false
	}
}

// IsDuplicate reports whether err is an insert of a key that is there already.
func IsDuplicate(err error) bool { return err != nil && faultOf(err) == engine.Duplicate }

// IsConflict reports whether the engine rolled a transaction back in favour of another one: a retry
// may succeed.
func IsConflict(err error) bool { return err != nil && faultOf(err) == engine.Conflict }

// MayRetryOneByOne reports whether a batch that failed with err may succeed in parts: the database
// is there, the batch certainly had no effect, and trying its jobs one by one does not mean waiting
// for a lock once for each.
func MayRetryOneByOne(err error) bool {
	return !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrRowLocked)
}

// IsLockNotAvailable reports whether a statement's wait for a lock ran out, or was refused
// (NOWAIT). Only the statement was rolled back. It does not report ErrRowLocked, which Transact
// returns.
func IsLockNotAvailable(err error) bool { return err != nil && faultOf(err) == engine.LockNotAvailable }

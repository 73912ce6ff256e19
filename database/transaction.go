package database

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jmoiron/sqlx"

	"cartwheel/database/engine"
	"cartwheel/database/mysql"
)

const (
	// maxAttempts is the maximum number of attempts of one transaction. With jitter that is about
	// half a second of deadlocks, which sorted locks make rare.
	maxAttempts = 8
	// maxReconnects is the maximum number of attempts after connections that broke, before the
	// COMMIT or during one that was not applied.
	maxReconnects = 2
	// backoffStep is the maximum pause before the second attempt. It doubles with each further one.
	backoffStep = 4 * time.Millisecond
	// backoffMax is the maximum pause between two attempts.
	backoffMax = 250 * time.Millisecond
)

// limits bound how long a transaction blocks its caller.
type limits struct {
	// attempt bounds one attempt, the wait for a connection included: no statement starts later. It
	// is well above lock waits and well below the request timeout.
	attempt time.Duration
	// retryTimeout bounds the attempts: none starts later.
	retryTimeout time.Duration
	// resolve bounds the look-up of a lost COMMIT.
	resolve time.Duration
}

var defaultLimits = limits{attempt: 6 * time.Second, retryTimeout: 8 * time.Second, resolve: 7 * time.Second}

// Transact runs work in one transaction and commits it. It starts no attempt after 8 seconds, and
// no statement of an attempt after 6. It looks a lost COMMIT up for 7 seconds. When ctx ends, the
// attempt fails at its current or next statement, and none follows; a COMMIT is never interrupted.
//
// Deadlocks and snapshot conflicts are retried with jitter, so work must begin by resetting what it
// leaves behind. A lock wait that runs out is retried once, with AfterLockTimeout.
//
// When the answer to the COMMIT is lost, committed looks for rows that work wrote. It runs on
// another connection, in a transaction that is rolled back, and does not end with ctx. It must use
// a locking read, which waits for a commit that still runs. When it finds the rows, Transact
// succeeds. Otherwise work is retried, after a second look in the retry's transaction, which ends
// with ctx. Without committed, or when it returns an error of its own, the outcome stays unknown.
//
// Errors: work's own but ErrNothingToWrite, after a rollback; ErrUnavailable (nothing was done);
// ErrRowLocked (nothing was done); ErrOutcomeUnknown.
func (db *DB) Transact(ctx context.Context, work func(*Tx) error, committed func(*Tx) (bool, error)) error {
	began := time.Now()
	uncertain, err := db.transact(ctx, work, committed)
	if err != nil && uncertain != nil {
		err = fmt.Errorf("%w: %w; then %v", ErrOutcomeUnknown, uncertain, err) //nolint:errorlint // it is no certainty
	}
	if db.observe.Transacted != nil {
		db.observe.Transacted(endOf(err), time.Since(began))
	}
	if errors.Is(err, ErrNothingToWrite) {
		return nil
	}
	return err
}

// transact returns the error of the last attempt, and as uncertain that of a COMMIT of the embedded
// engine that failed with an I/O error. SQLite rolls such a transaction back in this process. But
// its frames may be whole in the WAL: after a crash the file then has it committed, unless a later
// COMMIT has overwritten them.
func (db *DB) transact(
	ctx context.Context, work func(*Tx) error, committed func(*Tx) (bool, error),
) (uncertain, err error) {
	var afterLockTimeout, commitLost bool
	var reconnects int
	began := time.Now()
	for attempt := 1; ; attempt++ {
		tried := time.Now()
		run := work
		if commitLost {
			run = unlessFound(work, committed, &commitLost)
		}
		err = db.attempt(ctx, run, afterLockTimeout, false)
		if err == nil || errors.Is(err, errFoundLate) {
			return nil, nil
		}
		unresponsive := time.Since(tried) > db.limits.attempt/2
		f := faultOf(err)
		switch {
		case errors.Is(err, errCommitLost):
			db.log.Warn("the answer to a commit was lost", "error", err)
			found, resolveErr := db.resolve(ctx, committed)
			if resolveErr != nil {
				return uncertain, fmt.Errorf("%w: %w; then %w", ErrOutcomeUnknown, err, resolveErr)
			}
			if found {
				return nil, nil
			}
			if db.Embedded() {
				uncertain = err
			}
			commitLost = true
			f = engine.Lost // work had ended by then: its statements are not at fault
		case f == engine.Lost && unresponsive:
			// The database does not answer at all. Another attempt would take as long, and requests
			// that wait behind this transaction would time out without an answer.
			f = engine.Refused
		case !f.Outage() && errors.Is(err, errNoConnection):
			f = engine.Refused // also a lock wait that timed out in a new connection's causal read
		}
		switch f {
		case engine.Conflict:
			if attempt >= maxAttempts {
				return uncertain, fmt.Errorf("%w: %d attempts ended in conflicts: %w", ErrUnavailable, attempt, err)
			}
			db.log.Debug("transaction retried", "attempt", attempt, "error", err)
		case engine.LockNotAvailable:
			if afterLockTimeout {
				return uncertain, fmt.Errorf("%w: %w", ErrRowLocked, err)
			}
			afterLockTimeout = true
			db.log.Warn("a row stays locked by another session", "timeout", mysql.LockWait, "error", err)
		case engine.Lost:
			if reconnects++; reconnects > maxReconnects || ctx.Err() != nil {
				return uncertain, fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		case engine.Refused, engine.ReadOnly:
			return uncertain, fmt.Errorf("%w: %w", ErrUnavailable, err)
		default:
			return uncertain, err
		}
		if time.Since(began) > db.limits.retryTimeout {
			took := time.Since(began).Round(time.Millisecond)
			return uncertain, fmt.Errorf("%w: given up after %v: %w", ErrUnavailable, took, err)
		}
		if !pause(ctx, attempt) {
			return uncertain, fmt.Errorf("%w: %w: %w", ErrUnavailable, ctx.Err(), err)
		}
		if db.observe.Retry != nil {
			_, number := faultAndNumber(err)
			db.observe.Retry(number)
		}
	}
}

// errCommitLost says that COMMIT was sent and may have taken effect: there was no answer, or an
// error that does not tell.
var errCommitLost = errors.New("the answer to COMMIT was lost")

// errFoundLate says that an earlier attempt was committed.
var errFoundLate = errors.New("committed by an earlier attempt")

// unlessFound returns work for the attempt after a lost COMMIT. It does nothing when committed now
// finds what the look-up did not, as on a replica that took over and lagged. It sets
// commitLost to false once it has looked, just before work writes again. If it fails before that,
// the next attempt looks again.
func unlessFound(work func(*Tx) error, committed func(*Tx) (bool, error), commitLost *bool) func(*Tx) error {
	return func(tx *Tx) error {
		found, err := committed(tx)
		switch {
		case err != nil:
			return err
		case found:
			return errFoundLate
		}
		*commitLost = false
		return work(tx)
	}
}

// attempt runs work in a transaction and commits it. lookup says that work only looks a lost COMMIT
// up.
func (db *DB) attempt(ctx context.Context, work func(*Tx) error, afterLockTimeout, lookup bool) (err error) {
	deadline := time.Now().Add(db.limits.attempt)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn, err := db.engine.Writes.Connx(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoConnection, err)
	}
	tx := &Tx{conn: conn, engine: db.engine, afterLockTimeout: afterLockTimeout, noStatementAfter: deadline}
	if lookup {
		tx.lookup = ctx
	}
	clean := false
	defer func() {
		// Also on a panic of work: the connection goes back clean or not at all.
		if !clean && db.reusable(err) {
			clean = tx.rollback() == nil
		}
		db.engine.Ended(conn, err, !clean)
		tx.release(!clean)
	}()
	if db.engine.Begin != "" {
		// Other than the statements that follow, this one may wait for another process: ctx ends
		// that.
		if _, err := conn.ExecContext(ctx, db.engine.Begin); err != nil {
			return err
		}
	}
	if err := work(tx); err != nil {
		return err
	}
	// No context ends a COMMIT: the connection's own timeouts bound the wait for the answer.
	if _, err := conn.ExecContext(context.Background(), "COMMIT"); err != nil {
		if db.rolledBack(err) {
			return fmt.Errorf("commit: %w", err)
		}
		return fmt.Errorf("%w: %w", errCommitLost, err)
	}
	clean = true
	return nil
}

// reusable reports whether a connection may run other transactions, once the one that failed with
// err is rolled back. A nil err is a panic's.
func (db *DB) reusable(err error) bool {
	if err == nil || errors.Is(err, errCommitLost) {
		return false
	}
	switch faultOf(err) {
	case engine.Lost:
		return false
	case engine.Refused, engine.ReadOnly:
		// A MySQL server that refuses may be one that was demoted: the next connection may reach
		// its successor.
		return db.Embedded()
	default:
		return true
	}
}

// errNoConnection says that no connection was to be had. Whatever comes with it, nothing was done.
var errNoConnection = errors.New("no connection to the database")

func (db *DB) resolve(ctx context.Context, committed func(*Tx) (bool, error)) (found bool, err error) {
	if committed == nil {
		return false, errors.New("nothing was written that could be looked for")
	}
	// The request may be over; what was done must be known all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), db.limits.resolve)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := db.attempt(ctx, func(tx *Tx) (err error) {
			if found, err = committed(tx); err != nil {
				return err
			}
			return ErrNothingToWrite
		}, false, true)
		if errors.Is(err, ErrNothingToWrite) {
			return found, nil
		}
		f := faultOf(err)
		transient := f == engine.Conflict || f == engine.LockNotAvailable || f.Outage() || errors.Is(err, errNoConnection)
		if !transient || !pause(ctx, attempt+4) {
			return false, fmt.Errorf("look for the commit: %w", err)
		}
	}
}

// Read runs read on a connection whose statements each see what is committed at their start. It
// takes no locks.
//
// Errors: read's own; ErrUnavailable, a write among its reasons.
func (db *DB) Read(ctx context.Context, read func(*Tx) error) error {
	return db.read(ctx, db.engine.Reads, read, nil)
}

// ReadStale is Read for what decides nothing: what it sees may be a few seconds old. It reads the
// replica where there is a fresh one, and the primary otherwise, also after an error of the
// replica. So read may run twice.
func (db *DB) ReadStale(ctx context.Context, read func(*Tx) error) error {
	if db.replica != nil && db.replica.Fresh(ctx) {
		err := db.read(ctx, db.replica.DB, read, nil)
		if err == nil || ctx.Err() != nil {
			return err
		}
		db.replica.Report(err)
	}
	return db.Read(ctx, read)
}

// Query is DB.Read, or DB.ReadStale, for a read that returns a value.
func Query[T any](
	ctx context.Context, read func(context.Context, func(*Tx) error) error, query func(*Tx) (T, error),
) (value T, err error) {
	err = read(ctx, func(tx *Tx) (err error) {
		value, err = query(tx)
		return err
	})
	return value, err
}

// Snapshot runs read on one consistent snapshot of the whole database. It takes no locks and blocks
// nobody. Its statements may take their time: ctx alone bounds them, and a minute without a word
// from a MySQL server.
//
// Errors: read's own; ErrUnavailable, a write among its reasons.
func (db *DB) Snapshot(ctx context.Context, read func(*Tx) error) error {
	return db.read(ctx, db.engine.Snapshots, read, db.engine.BeginSnapshot)
}

// read runs read after the statements that begin a transaction, if any.
func (db *DB) read(ctx context.Context, pool *sqlx.DB, read func(*Tx) error, begin []string) error {
	conn, err := pool.Connx(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	tx := &Tx{conn: conn, engine: db.engine}
	broken := true
	defer func() { tx.release(broken) }()
	for _, statement := range begin {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%w: begin snapshot: %w", ErrUnavailable, err)
		}
	}
	if err = read(tx); err != nil && faultOf(err).Outage() {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	broken = len(begin) > 0 && tx.rollback() != nil
	return err
}

// pause waits before the next attempt, longer each time and never twice the same. It reports
// whether ctx goes on.
func pause(ctx context.Context, attempt int) bool {
	longest := min(backoffStep<<min(attempt-1, 10), backoffMax)
	select {
	case <-time.After(time.Duration(rand.Int64N(int64(longest))) + time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

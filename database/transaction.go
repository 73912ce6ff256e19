package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jmoiron/sqlx"

	"cartwheel/database/engine"
	"cartwheel/database/mysql"
)

const (
	// maxAttempts is how often one transaction is run before its conflict is given up as an outage: with jitter
	// that is about half a second of deadlocks, which sorted locks make rare to begin with.
	maxAttempts = 8
	// maxReconnects is how many of the attempts may be spent on connections that break before the COMMIT.
	maxReconnects = 2
	// backoffStep is the longest pause before the second attempt; each further one may be twice as long.
	backoffStep = 4 * time.Millisecond
	// backoffMax is the longest pause between two attempts.
	backoffMax = 250 * time.Millisecond
)

// limits bound how long a transaction keeps its caller.
type limits struct {
	// attempt is after which no statement of an attempt starts any more, the wait for a connection included. Well
	// above lockWait and busyTimeout, well below the request timeout.
	attempt time.Duration
	// patience is after which no further attempt starts.
	patience time.Duration
	// resolve is how long a lost COMMIT's outcome is looked for before it is called unknown.
	resolve time.Duration
}

var defaultLimits = limits{attempt: 6 * time.Second, patience: 8 * time.Second, resolve: 7 * time.Second}

// Tx is one transaction under way. It belongs to the function it was given to, and to one goroutine.
type Tx struct {
	session       *session
	dialect       Dialect
	pipelines     bool // several statements may be sent in one round trip
	afterLockWait bool
	// overdue is when no further statement starts; zero where nothing bounds them but their contexts.
	overdue time.Time
	// lookup takes the place of the contexts that statements are given, where a lost COMMIT is looked up: what
	// became of it must be known even when the request is over. Else it is nil.
	lookup context.Context
}

// errOverdue ends an attempt that takes too long. It is rolled back like any other that fails.
var errOverdue = errors.New("the transaction took too long")

// statementContext returns the context that a statement runs on, given the caller's.
func (tx *Tx) statementContext(ctx context.Context) (context.Context, error) {
	switch {
	case tx.lookup != nil:
		return tx.lookup, nil
	case !tx.overdue.IsZero() && time.Now().After(tx.overdue):
		return nil, errOverdue
	}
	return ctx, nil
}

// Dialect returns how the transaction's engine writes what SQL leaves open.
func (tx *Tx) Dialect() Dialect { return tx.dialect }

// AfterLockWait reports that an earlier attempt waited for a row until its time was up. Statements that lock
// should now leave the taken rows out (ForUpdateSkipLocked), so that the others need not wait again.
func (tx *Tx) AfterLockWait() bool { return tx.afterLockWait }

// ForUpdate is the clause that makes a SELECT lock its rows, waiting for those that are locked.
func (tx *Tx) ForUpdate() string {
	wait, _, _ := tx.dialect.Locking()
	return wait
}

// ForUpdateNoWait is the clause that makes a SELECT lock its rows, or fail at once (IsRowLocked) where one is locked. Unlike
// ForUpdateSkipLocked it also meets rows that another transaction has inserted and not committed. The transaction goes on.
func (tx *Tx) ForUpdateNoWait() string {
	_, noWait, _ := tx.dialect.Locking()
	return noWait
}

// ForUpdateSkipLocked is the clause that makes a SELECT lock its rows and leave out those that are locked.
func (tx *Tx) ForUpdateSkipLocked() string {
	_, _, skipLocked := tx.dialect.Locking()
	return skipLocked
}

// Exec runs a statement and returns how many rows it found (not only those that it changed; an upsert on the
// MySQL engine counts 2 for a row that it updated).
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, err := tx.statementContext(ctx)
	if err != nil {
		return 0, err
	}
	result, err := tx.session.exec(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Select scans all rows into dest, a pointer to a slice, as sqlx does.
func (tx *Tx) Select(ctx context.Context, dest any, query string, args ...any) error {
	ctx, err := tx.statementContext(ctx)
	if err != nil {
		return err
	}
	return tx.session.selectAll(ctx, dest, query, args)
}

// Each calls scan for every row. It is Select without reflection, for the paths that are walked most.
func (tx *Tx) Each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) (err error) {
	if ctx, err = tx.statementContext(ctx); err != nil {
		return err
	}
	rows, err := tx.session.query(ctx, query, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Transact runs work in one transaction and commits it. It blocks until that is done or given up, which is
// bounded whatever ctx says (some 15 seconds, and as long again to find out about a lost COMMIT); ctx ending makes it
// give up between attempts, never in the middle of a COMMIT.
//
// Deadlocks and snapshot conflicts are run again, with jitter, a bounded number of times: work must begin by
// resetting what it leaves behind. A lock wait that runs out is run again once, with AfterLockWait.
//
// When the answer to COMMIT is lost, committed is asked on another connection, in a transaction of its own that is
// rolled back: with a locking read, which waits for a commit still under way, it looks for rows that work wrote.
// Found: Transact succeeds. Not found: work certainly had no effect and is run again. A nil committed says that there
// is nothing to look for; so does one that returns an error of its own. Its statements do not end with ctx.
//
// Errors: work's own, after a rollback; ErrUnavailable (nothing was done); ErrRowLocked (nothing was done);
// ErrOutcomeUnknown.
func (db *DB) Transact(ctx context.Context, work func(*Tx) error, committed func(*Tx) (bool, error)) error {
	if db.observe.Transacted == nil {
		return db.transact(ctx, work, committed)
	}
	began := time.Now()
	err := db.transact(ctx, work, committed)
	db.observe.Transacted(endOf(err), time.Since(began))
	return err
}

func (db *DB) transact(ctx context.Context, work func(*Tx) error, committed func(*Tx) (bool, error)) error {
	var afterLockWait bool
	var reconnects int
	began := time.Now()
	for attempt := 1; ; attempt++ {
		tried := time.Now()
		err := db.attempt(ctx, work, afterLockWait, false)
		if err == nil {
			return nil
		}
		silent := time.Since(tried) > db.limits.attempt/2
		f := faultOf(err)
		var lost *commitLostError
		var noConnection *acquireError
		switch {
		case errors.As(err, &lost):
			db.log.Warn("the answer to a commit was lost", "error", lost.cause)
			found, resolveErr := db.resolve(ctx, committed)
			if resolveErr != nil {
				return fmt.Errorf("%w: %w; then %w", ErrOutcomeUnknown, lost.cause, resolveErr)
			}
			if found {
				return nil
			}
			// Whatever the answer was, work is not at fault: it was done by then.
			err, f = lost.cause, engine.Lost
		case f == engine.Lost && silent:
			// The database does not answer at all: another attempt would wait as long. Whoever waits behind this
			// transaction would then wait beyond their request's time, and could not be told that nothing was done.
			f = engine.Refused
		case f == engine.Other && errors.As(err, &noConnection):
			f = engine.Refused
		}
		switch f {
		case engine.Conflict:
			if attempt >= maxAttempts {
				return fmt.Errorf("%w: %d attempts ended in conflicts: %w", ErrUnavailable, attempt, err)
			}
			db.log.Debug("transaction runs again", "attempt", attempt, "error", err)
		case engine.RowLocked:
			if afterLockWait {
				return fmt.Errorf("%w: %w", ErrRowLocked, err)
			}
			afterLockWait = true
			db.log.Warn("a row is kept locked by someone else", "waited", mysql.LockWait, "error", err)
		case engine.Lost:
			if reconnects++; reconnects > maxReconnects || ctx.Err() != nil {
				return fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		case engine.Refused, engine.ReadOnly:
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		default:
			return err
		}
		if time.Since(began) > db.limits.patience {
			return fmt.Errorf("%w: given up after %v: %w", ErrUnavailable, time.Since(began).Round(time.Millisecond), err)
		}
		if !pause(ctx, attempt) {
			return fmt.Errorf("%w: %w: %w", ErrUnavailable, ctx.Err(), err)
		}
		if db.observe.Retry != nil {
			_, number := faultAndNumber(err)
			db.observe.Retry(number)
		}
	}
}

// commitLostError says that COMMIT was sent and that its answer is not known.
type commitLostError struct{ cause error }

func (e *commitLostError) Error() string { return "commit: " + e.cause.Error() }

// attempt runs work in a transaction and commits it. lookup says that work only looks a lost COMMIT up.
func (db *DB) attempt(ctx context.Context, work func(*Tx) error, afterLockWait, lookup bool) (err error) {
	overdue := time.Now().Add(db.limits.attempt)
	ctx, cancel := context.WithDeadline(ctx, overdue)
	defer cancel()
	conn, err := db.engine.Writes.Connx(ctx)
	if err != nil {
		return &acquireError{err}
	}
	session := &session{conn: conn, ignoreCancel: db.engine.IgnoreCancel}
	tx := &Tx{session: session, dialect: db.engine.Dialect, pipelines: db.engine.Pipelines, afterLockWait: afterLockWait, overdue: overdue}
	if lookup {
		tx.lookup = ctx
	}
	clean := false
	defer func() {
		// Also on a panic of work: the connection goes back clean or not at all.
		if !clean && db.reusable(err) {
			clean = session.rollback() == nil
		}
		session.close(!clean)
		if err != nil || !clean {
			db.engine.Failed(err, !clean)
		}
	}()
	if db.engine.Begin != "" {
		// Other than the statements that follow, this one may wait for another process: ctx ends that.
		if _, err := conn.ExecContext(ctx, db.engine.Begin); err != nil {
			return err
		}
	}
	if err := work(tx); err != nil {
		return err
	}
	if err := session.commit(); err != nil {
		if db.rolledBack(err) {
			return fmt.Errorf("commit: %w", err)
		}
		return &commitLostError{err}
	}
	clean = true
	if db.engine.Committed != nil {
		db.engine.Committed(session.conn)
	}
	return nil
}

// reusable reports whether a connection may run other transactions, once the one that failed with err is rolled back.
// A nil err is a panic's.
func (db *DB) reusable(err error) bool {
	var lost *commitLostError
	if err == nil || errors.As(err, &lost) {
		return false
	}
	switch faultOf(err) {
	case engine.Lost:
		return false
	case engine.Refused, engine.ReadOnly:
		// A MySQL server that refuses may be one that was demoted: the next connection may reach its successor.
		return db.Embedded()
	default:
		return true
	}
}

// acquireError says that no connection was to be had. Whatever it wraps, nothing was done.
type acquireError struct{ cause error }

func (e *acquireError) Error() string { return "connect: " + e.cause.Error() }
func (e *acquireError) Unwrap() error { return e.cause }

func (db *DB) resolve(ctx context.Context, committed func(*Tx) (bool, error)) (found bool, err error) {
	if committed == nil {
		return false, errors.New("nothing was written that could be looked for")
	}
	// The request may be over; what was done must be known all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), db.limits.resolve)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := db.attempt(ctx, func(tx *Tx) error {
			var err error
			if found, err = committed(tx); err != nil {
				return err
			}
			return errLookedUp
		}, false, true)
		if errors.Is(err, errLookedUp) {
			return found, nil
		}
		var noConnection *acquireError
		f := faultOf(err)
		passes := f == engine.Conflict || f == engine.RowLocked || f == engine.Lost || f == engine.Refused || f == engine.ReadOnly || errors.As(err, &noConnection)
		if !passes || !pause(ctx, attempt+4) {
			return false, fmt.Errorf("look for the commit: %w", err)
		}
	}
}

var errLookedUp = errors.New("looked up")

// Read runs read on a connection whose statements each see what is committed at their start. It takes no locks.
//
// Errors: read's own; ErrUnavailable, a write among its reasons.
func (db *DB) Read(ctx context.Context, read func(*Tx) error) error {
	return db.reading(ctx, db.engine.Reads, read, false)
}

// Snapshot runs read on one consistent snapshot of the whole database. It takes no locks and blocks nobody. Its
// statements may take their time: ctx alone bounds them, and a minute without a word from a MySQL server.
//
// Errors: read's own; ErrUnavailable, a write among its reasons.
func (db *DB) Snapshot(ctx context.Context, read func(*Tx) error) error {
	return db.reading(ctx, db.engine.Snapshots, read, true)
}

func (db *DB) reading(ctx context.Context, pool *sqlx.DB, read func(*Tx) error, snapshot bool) error {
	conn, err := pool.Connx(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	session := &session{conn: conn}
	broken := true
	defer func() { session.close(broken) }()
	if snapshot {
		for _, statement := range db.engine.BeginSnapshot {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("%w: begin snapshot: %w", ErrUnavailable, err)
			}
		}
	}
	err = read(&Tx{session: session, dialect: db.engine.Dialect, pipelines: db.engine.Pipelines})
	switch f := faultOf(err); {
	case err != nil && (f == engine.Lost || f == engine.Refused || f == engine.ReadOnly):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case snapshot:
		broken = session.rollback() != nil
	default:
		broken = false
	}
	return err
}

// pause waits before the next attempt, longer each time and never twice the same. It reports whether ctx goes on.
func pause(ctx context.Context, attempt int) bool {
	longest := min(backoffStep<<min(attempt-1, 10), backoffMax)
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(longest))) + time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"cartwheel/database/engine"
)

// rollbackTimeout bounds a ROLLBACK. A connection that does not finish it in that time is closed,
// which has the same effect.
const rollbackTimeout = 2 * time.Second

// Tx is one transaction, or one read. It belongs to the function it was given to, and to one
// goroutine.
type Tx struct {
	conn             *sqlx.Conn
	engine           *engine.Engine
	afterLockTimeout bool
	// noStatementAfter is when no further statement starts; zero where nothing bounds them but
	// their contexts.
	noStatementAfter time.Time
	// lookup replaces the contexts of statements that look up a lost COMMIT, whose outcome must be
	// known even after the request has ended. Otherwise it is nil.
	lookup context.Context
}

// errAttemptTooLong ends an attempt that takes too long. It is rolled back like any other that
// fails.
var errAttemptTooLong = errors.New("the transaction took too long")

// statementContext returns the context that a statement runs with, given the caller's.
func (tx *Tx) statementContext(ctx context.Context) (context.Context, error) {
	switch {
	case tx.lookup != nil:
		ctx = tx.lookup
	case !tx.noStatementAfter.IsZero() && time.Now().After(tx.noStatementAfter):
		return nil, errAttemptTooLong
	}
	// SQLite's driver and database/sql start a goroutine for each statement whose context can end.
	// A transaction's statements take less time than that goroutine; a read, which has no
	// noStatementAfter, may take long.
	if tx.engine.Embedded() && !tx.noStatementAfter.IsZero() {
		return context.WithoutCancel(ctx), ctx.Err()
	}
	return ctx, nil
}

// Dialect returns the dialect of the transaction's engine.
func (tx *Tx) Dialect() Dialect { return tx.engine.Dialect }

// AfterLockTimeout reports that an earlier attempt waited for a locked row until its time was up.
// Statements that lock should now leave locked rows out (ForUpdateSkipLocked), so that the others
// need not wait again.
func (tx *Tx) AfterLockTimeout() bool { return tx.afterLockTimeout }

// ForUpdate is the clause that makes a SELECT lock its rows, waiting for those that are locked.
func (tx *Tx) ForUpdate() string { return tx.engine.Dialect.RowLocks(" FOR UPDATE") }

// ForUpdateNoWait is the clause that makes a SELECT lock its rows, or fail at once
// (IsLockNotAvailable) where one is locked. Unlike ForUpdateSkipLocked it also meets rows that
// another transaction has inserted and not committed. The transaction goes on.
func (tx *Tx) ForUpdateNoWait() string { return tx.engine.Dialect.RowLocks(" FOR UPDATE NOWAIT") }

// ForUpdateSkipLocked is the clause that makes a SELECT lock its rows and leave out those that are
// locked.
func (tx *Tx) ForUpdateSkipLocked() string {
	return tx.engine.Dialect.RowLocks(" FOR UPDATE SKIP LOCKED")
}

// Exec runs a statement and returns how many rows it matched, not only those that it changed. On a
// MySQL server an upsert counts 2 for a row that it updated.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, err := tx.statementContext(ctx)
	if err != nil {
		return 0, err
	}
	result, err := tx.conn.ExecContext(ctx, query, args...)
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
	return tx.conn.SelectContext(ctx, dest, query, args...)
}

// Each calls scan for every row. It is Select without reflection, for frequent statements.
func (tx *Tx) Each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	ctx, err := tx.statementContext(ctx)
	if err != nil {
		return err
	}
	return tx.queryAll(ctx, []statement{{query: query, scan: scan}}, query, args)
}

func (tx *Tx) rollback() error {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	_, err := tx.conn.ExecContext(ctx, "ROLLBACK")
	return err
}

// release returns the connection to its pool, which closes a broken one.
func (tx *Tx) release(broken bool) {
	if broken {
		// Raw returns the error that its function returns.
		_ = tx.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = tx.conn.Close()
}

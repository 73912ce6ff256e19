package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/jmoiron/sqlx"
)

// rollbackTimeout bounds a ROLLBACK; a connection that cannot do it in that time is closed, which does it too.
const rollbackTimeout = 2 * time.Second

// maxCachedArgs is the most arguments of a statement that is kept prepared: those of one request alone. Longer
// ones come in too many lengths to keep them all.
const maxCachedArgs = 24

// maxPrepared is the most statements that a session keeps prepared. There are a few dozen statements, each in up to
// maxCachedArgs lengths, of which a shop meets some.
const maxPrepared = 512

// caching says which statements a session keeps prepared.
type caching int

const (
	cacheNone  caching = iota // the session is soon given back
	cacheKept                 // those that ask for it; for the others the driver interpolates, which saves a round trip
	cacheShort                // those, and all with few arguments
)

// A session is one connection on which transactions run, one at a time.
type session struct {
	conn *sqlx.Conn
	// since is when it was opened, used when it was last given back.
	since, used time.Time
	deferred    []deferred // to be sent with the next statement
	cache       caching
	// prepared holds statements by text.
	prepared map[string]*sqlx.Stmt
	// beginWith starts a transaction; empty where each statement after a COMMIT starts one.
	beginWith string
	// patience is how long begin waits for another process that writes.
	patience time.Duration
	// check may refuse what has begun. nil: nothing is refused.
	check func() error
	// unwatched: what has begun to run is not cut short by its context. SQLite's driver, and database/sql for each query, have a
	// goroutine watch a context that can end, and a statement of ours takes less time than that.
	unwatched bool
}

func (s *session) begin(ctx context.Context) error {
	if s.beginWith == "" {
		return nil
	}
	err := untilFree(ctx, s.patience, func() error {
		_, err := s.exec(ctx, s.beginWith, nil, false)
		return err
	})
	if err != nil || s.check == nil {
		return err
	}
	return s.check()
}

// commit sends COMMIT. No context can cut it short: its answer is worth waiting for, and the connection's own
// timeouts bound it.
func (s *session) commit() error {
	_, err := s.exec(context.Background(), "COMMIT", nil, false)
	return err
}

func (s *session) rollback() error {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	_, err := s.conn.ExecContext(ctx, "ROLLBACK")
	return err
}

// watched returns the context that a statement is to run with.
func (s *session) watched(ctx context.Context) (context.Context, error) {
	if !s.unwatched {
		return ctx, nil
	}
	return context.WithoutCancel(ctx), ctx.Err()
}

func (s *session) exec(ctx context.Context, query string, args []any, keep bool) (sql.Result, error) {
	ctx, err := s.watched(ctx)
	if err != nil {
		return nil, err
	}
	statement, err := s.statement(ctx, query, args, keep)
	switch {
	case err != nil:
		return nil, err
	case statement != nil:
		return statement.ExecContext(ctx, args...)
	}
	return s.conn.ExecContext(ctx, query, args...)
}

func (s *session) query(ctx context.Context, query string, args []any, keep bool) (*sqlx.Rows, error) {
	ctx, err := s.watched(ctx)
	if err != nil {
		return nil, err
	}
	statement, err := s.statement(ctx, query, args, keep)
	switch {
	case err != nil:
		return nil, err
	case statement != nil:
		return statement.QueryxContext(ctx, args...)
	}
	return s.conn.QueryxContext(ctx, query, args...)
}

func (s *session) selectAll(ctx context.Context, dest any, query string, args []any, keep bool) error {
	ctx, err := s.watched(ctx)
	if err != nil {
		return err
	}
	statement, err := s.statement(ctx, query, args, keep)
	switch {
	case err != nil:
		return err
	case statement != nil:
		return statement.SelectContext(ctx, dest, args...)
	}
	return s.conn.SelectContext(ctx, dest, query, args...)
}

// statement returns the query prepared, or nil where it is not to be kept.
func (s *session) statement(ctx context.Context, query string, args []any, keep bool) (*sqlx.Stmt, error) {
	if s.cache == cacheNone || !keep && (s.cache == cacheKept || len(args) > maxCachedArgs) {
		return nil, nil
	}
	if statement, ok := s.prepared[query]; ok {
		return statement, nil
	}
	if len(s.prepared) >= maxPrepared {
		// Any one: what is used often soon comes back, and no order has to be kept for what hardly ever happens.
		for text, old := range s.prepared {
			_ = old.Close() // as it is not running, there is nothing to fail
			delete(s.prepared, text)
			break
		}
	}
	statement, err := s.conn.PreparexContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if s.prepared == nil {
		s.prepared = map[string]*sqlx.Stmt{}
	}
	s.prepared[query] = statement
	return statement, nil
}

// close gives the connection back to its pool; a broken one is thrown away.
func (s *session) close(broken bool) {
	// Statements first: SQLite keeps a connection, and its locks, as long as one of its statements is left, and the
	// driver cannot close a statement whose connection is gone.
	for _, statement := range s.prepared {
		_ = statement.Close()
	}
	if broken {
		// Raw's error is the one handed to it.
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = s.conn.Close()
}

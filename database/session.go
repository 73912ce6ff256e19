package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/jmoiron/sqlx"
)

// rollbackTimeout bounds a ROLLBACK. A connection that does not finish it in that time is closed, which has the same effect.
const rollbackTimeout = 2 * time.Second

// A session is one connection that a transaction, or a read, has for itself.
type session struct {
	conn         *sqlx.Conn
	ignoreCancel bool // see engine.Engine
}

// commit sends COMMIT. It ignores cancellation: the connection's own timeouts bound the wait for the answer.
func (s *session) commit() error {
	_, err := s.exec(context.Background(), "COMMIT")
	return err
}

func (s *session) rollback() error {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	_, err := s.conn.ExecContext(ctx, "ROLLBACK")
	return err
}

// statementContext returns the context that a statement runs with.
func (s *session) statementContext(ctx context.Context) (context.Context, error) {
	if !s.ignoreCancel {
		return ctx, nil
	}
	return context.WithoutCancel(ctx), ctx.Err()
}

func (s *session) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx, err := s.statementContext(ctx)
	if err != nil {
		return nil, err
	}
	return s.conn.ExecContext(ctx, query, args...)
}

func (s *session) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	ctx, err := s.statementContext(ctx)
	if err != nil {
		return nil, err
	}
	return s.conn.QueryContext(ctx, query, args...)
}

func (s *session) selectAll(ctx context.Context, dest any, query string, args []any) error {
	ctx, err := s.statementContext(ctx)
	if err != nil {
		return err
	}
	return s.conn.SelectContext(ctx, dest, query, args...)
}

// close returns the connection to its pool, which closes a broken one.
func (s *session) close(broken bool) {
	if broken {
		// Raw returns the error that its function returns.
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = s.conn.Close()
}

package database

import (
	"context"
	"database/sql/driver"
	"errors"
)

const (
	// maxPrepared is the maximum number of prepared statements per connection. MySQL allows 16,382 for all connections by
	// default; one instance has 28.
	maxPrepared = 256
	// maxSeen is the maximum number of statements that a connection remembers to have run once.
	maxSeen = 1024
)

// engineConn is what both drivers' connections implement.
type engineConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// A cachingConnector opens connections that have a prepared-statement cache.
type cachingConnector struct{ driver.Connector }

func (c cachingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &cachingConn{engineConn: conn.(engineConn), prepared: map[string]driver.Stmt{}, seen: map[string]bool{}}, nil
}

// A cachingConn prepares a statement that it runs for the second time, and keeps it prepared. A statement that runs once would
// cost a MySQL server a round trip more.
type cachingConn struct {
	engineConn
	prepared map[string]driver.Stmt
	seen     map[string]bool
}

// noPrepare is the key of a context whose statements are not prepared: several in one text cannot be.
type noPrepare struct{}

// CheckNamedValue implements driver.NamedValueChecker as the driver's connection does.
func (c *cachingConn) CheckNamedValue(value *driver.NamedValue) error {
	if checker, ok := c.engineConn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(value)
	}
	return driver.ErrSkip
}

// ExecContext implements driver.ExecerContext.
func (c *cachingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	statement, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if statement == nil {
		return c.engineConn.ExecContext(ctx, query, args)
	}
	return statement.(driver.StmtExecContext).ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (c *cachingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	statement, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if statement == nil {
		return c.engineConn.QueryContext(ctx, query, args)
	}
	return statement.(driver.StmtQueryContext).QueryContext(ctx, args)
}

// statement returns the query's prepared statement, or nil when it runs unprepared. One without arguments is a COMMIT or as short.
func (c *cachingConn) statement(ctx context.Context, query string, args []driver.NamedValue) (driver.Stmt, error) {
	if statement, ok := c.prepared[query]; ok {
		return statement, nil
	}
	if len(args) == 0 || ctx.Value(noPrepare{}) != nil {
		return nil, nil
	}
	if !c.seen[query] {
		if len(c.seen) >= maxSeen {
			clear(c.seen)
		}
		c.seen[query] = true
		return nil, nil
	}
	statement, err := c.PrepareContext(ctx, query)
	switch {
	case errors.Is(err, driver.ErrBadConn):
		return nil, err
	case err != nil:
		// The server has too many prepared statements, or the query is wrong, which running it reports.
		delete(c.seen, query)
		return nil, nil
	}
	if len(c.prepared) >= maxPrepared {
		for text, old := range c.prepared { // any: a frequent one is soon prepared again
			_ = old.Close()
			delete(c.prepared, text)
			break
		}
	}
	c.prepared[query] = statement
	return statement, nil
}

// Close closes the statements first: a SQLite connection keeps its locks as long as one of its statements is open.
func (c *cachingConn) Close() error {
	for _, statement := range c.prepared {
		_ = statement.Close()
	}
	return c.engineConn.Close()
}

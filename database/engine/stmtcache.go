package engine

import (
	"context"
	"database/sql/driver"
	"errors"
)

const (
	// MaxPrepared is the maximum number of prepared statements per connection. MySQL allows 16,382
	// for all connections by default; one instance has 28.
	MaxPrepared = 256
	// maxSeen is the maximum number of statements that a connection remembers to have run once.
	maxSeen = 1024
)

// driverConn is what both drivers' connections implement.
type driverConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// A CachingConnector opens connections of type *Conn.
type CachingConnector struct{ driver.Connector }

// Connect implements driver.Connector.
func (c CachingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &Conn{driverConn: conn.(driverConn), prepared: map[string]driver.Stmt{}, seen: map[string]bool{}}, nil
}

// A Conn is a connection with a prepared-statement cache. It prepares a statement that it runs for
// the second time, and keeps it prepared. A statement that runs once would cost a MySQL server a
// round trip more.
type Conn struct {
	driverConn
	prepared map[string]driver.Stmt
	seen     map[string]bool
}

type noPrepare struct{}

// Unprepared returns a context whose statements are not prepared: several in one text cannot be.
func Unprepared(ctx context.Context) context.Context {
	return context.WithValue(ctx, noPrepare{}, true)
}

// Driver returns the driver's own connection.
func (c *Conn) Driver() driver.Conn { return c.driverConn }

// Prepared returns the number of prepared statements.
func (c *Conn) Prepared() int { return len(c.prepared) }

// CheckNamedValue implements driver.NamedValueChecker as the driver's connection does.
func (c *Conn) CheckNamedValue(value *driver.NamedValue) error {
	if checker, ok := c.driverConn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(value)
	}
	return driver.ErrSkip
}

// ExecContext implements driver.ExecerContext.
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	statement, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if statement == nil {
		return c.driverConn.ExecContext(ctx, query, args)
	}
	return statement.(driver.StmtExecContext).ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	statement, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if statement == nil {
		return c.driverConn.QueryContext(ctx, query, args)
	}
	return statement.(driver.StmtQueryContext).QueryContext(ctx, args)
}

// statement returns the query's prepared statement, or nil when it runs unprepared. One without
// arguments is a COMMIT or as short.
func (c *Conn) statement(ctx context.Context, query string, args []driver.NamedValue) (driver.Stmt, error) {
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
		// The server has too many prepared statements, or the query is wrong, which running it
		// reports.
		delete(c.seen, query)
		return nil, nil //nolint:nilerr // see above
	}
	if len(c.prepared) >= MaxPrepared {
		for text, old := range c.prepared { // any: a frequent one is soon prepared again
			_ = old.Close()
			delete(c.prepared, text)
			break
		}
	}
	c.prepared[query] = statement
	return statement, nil
}

// Close closes the statements first: a SQLite connection keeps its locks as long as one of its
// statements is open.
func (c *Conn) Close() error {
	for _, statement := range c.prepared {
		_ = statement.Close()
	}
	return c.driverConn.Close()
}

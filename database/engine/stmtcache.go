package engine

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Separator separates statements that are sent in one text.
const Separator = ";\n"

// maxSeen is the maximum number of statements that a connection remembers to have run once.
const maxSeen = 1024

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
type CachingConnector struct {
	driver.Connector
	Settings    []string // statements that each connection begins with
	MaxPrepared int      // statements per connection
	// Fault returns what a server's error means.
	Fault func(error) (fault Fault, number string)
}

// Connect implements driver.Connector.
func (c CachingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, statement := range c.Settings {
		if _, err := conn.(driverConn).ExecContext(ctx, statement, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", statement, err), conn.Close())
		}
	}
	return &Conn{
		driverConn: conn.(driverConn), fault: c.Fault, room: c.MaxPrepared,
		prepared: map[string]driver.Stmt{}, seen: map[string]bool{},
	}, nil
}

// A Conn is a connection with a prepared-statement cache. It prepares a statement that it runs for
// the second time: one that runs once would cost a MySQL server a round trip more. Nothing is
// evicted, because many texts that run rarely would then cost that round trip again and again.
type Conn struct {
	driverConn
	fault    func(error) (Fault, string)
	room     int // how many more statements it tries to prepare
	prepared map[string]driver.Stmt
	seen     map[string]bool
	result   driver.Result // of the last ExecContext
}

// Driver returns the driver's own connection.
func (c *Conn) Driver() driver.Conn { return c.driverConn }

// Statements returns the statements that are prepared, and those that it remembers to have run
// once.
func (c *Conn) Statements() (prepared, seen []string) {
	return slices.Collect(maps.Keys(c.prepared)), slices.Collect(maps.Keys(c.seen))
}

// RowCounts returns how many rows each statement of the last ExecContext matched. It is empty where
// the driver left that to database/sql.
func (c *Conn) RowCounts() ([]int64, error) {
	switch result := c.result.(type) {
	case nil:
		return nil, nil
	case interface{ AllRowsAffected() []int64 }:
		return result.AllRowsAffected(), nil
	default:
		count, err := result.RowsAffected()
		return []int64{count}, err
	}
}

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
	switch {
	case err != nil:
		return nil, err
	case statement == nil:
		c.result, err = c.driverConn.ExecContext(ctx, query, args)
	default:
		c.result, err = statement.(driver.StmtExecContext).ExecContext(ctx, args)
	}
	return c.result, err
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

// statement returns the query's prepared statement, or nil when it runs unprepared. A query without
// arguments is as short as COMMIT; several in one text cannot be prepared.
func (c *Conn) statement(ctx context.Context, query string, args []driver.NamedValue) (driver.Stmt, error) {
	if statement, ok := c.prepared[query]; ok {
		return statement, nil
	}
	if len(args) == 0 || c.room == 0 || strings.Contains(query, Separator) {
		return nil, nil
	}
	if !c.seen[query] {
		if len(c.seen) >= maxSeen {
			clear(c.seen)
		}
		c.seen[query] = true
		return nil, nil
	}
	delete(c.seen, query)
	c.room-- // also after an error, which bounds the round trips for nothing
	statement, err := c.PrepareContext(ctx, query)
	switch {
	case err == nil:
		c.prepared[query] = statement
		return statement, nil
	case errors.Is(err, driver.ErrBadConn):
		return nil, err
	}
	if fault, _ := c.fault(err); fault != Other {
		return nil, err // it may have ended the transaction, as a deadlock on Galera does: the query must not run alone
	}
	return nil, nil // the server has too many, or the query is wrong, which running it reports
}

// Close closes the statements first: a SQLite connection keeps its locks as long as one of its
// statements is open.
func (c *Conn) Close() error {
	for _, statement := range c.prepared {
		_ = statement.Close()
	}
	return c.driverConn.Close()
}

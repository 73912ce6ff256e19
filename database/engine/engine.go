// Package engine describes an engine for the database package. The packages mysql and sqlite
// provide it.
package engine

import (
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// ErrUnavailable means that the database could not be used, and that certainly nothing was done.
var ErrUnavailable = errors.New("database is unavailable")

// ErrNoData means that there is no database yet, and that none was to be created.
var ErrNoData = errors.New("there is no data yet")

// An Engine is an opened engine.
type Engine struct {
	Dialect   Dialect
	Location  string   // where it is, for people, without a password
	Path      string   // the embedded engine's file; empty otherwise
	Writes    *sqlx.DB // transactions
	Reads     *sqlx.DB // autocommitted reads; cannot write
	Snapshots *sqlx.DB // reads of one snapshot; cannot write
	Setup     *sql.DB  // migrations: each statement commits by itself

	// Begin starts a transaction. It is empty where each statement after a COMMIT does.
	Begin string
	// BeginSnapshot are the statements that start a transaction which reads one snapshot of the
	// whole database.
	BeginSnapshot []string
	// Clustered says that the server is one of several nodes that accept writes.
	Clustered bool
	// Ended is called after each transaction, with its connection, its error and whether the
	// connection broke.
	Ended func(conn *sqlx.Conn, err error, broken bool)
	// Closers close the connections, in order. Each may be called again.
	Closers []func() error
	// Unlock unlocks the data directory; nil where it is not locked.
	Unlock func() error
}

// Embedded reports whether the engine lives in this process.
func (e *Engine) Embedded() bool { return e.Path != "" }

// CloseConnections closes the connections. A repeat is harmless.
func (e *Engine) CloseConnections() error {
	var errs []error
	for _, closeOne := range e.Closers {
		errs = append(errs, closeOne())
	}
	return errors.Join(errs...)
}

// Close closes the connections and unlocks the data directory. A repeat is harmless.
func (e *Engine) Close() error {
	err := e.CloseConnections()
	if e.Unlock != nil {
		err = errors.Join(err, e.Unlock())
	}
	return err
}

// A Dialect writes the SQL that differs between the engines.
type Dialect interface {
	// Name is the dialect's folder below migrations: "mysql" or "sqlite".
	Name() string
	// Now is the expression for the database's clock, in UTC.
	Now() string
	// NowPlus is the expression for the database's clock that much later.
	NowPlus(after time.Duration) string
	// RowLocks returns the clause that makes a SELECT lock its rows, or "" where a transaction has
	// locked the whole database.
	RowLocks(clause string) string
	// OnConflict begins the second half of an upsert on the table's primary key, given as "a, b".
	OnConflict(key string) string
	// Incoming is the value that an upsert would have inserted in the column.
	Incoming(column string) string
	// ByKey names a table in a SELECT or UPDATE whose WHERE lists primary keys: other rows are
	// neither read nor locked.
	ByKey(table string) string
	// List turns the arguments of JoinKeys, DeleteKeys, Subtract or InsertList, row by row with
	// that number of columns, into the arguments for the engine. They are strings, ints and int64s.
	List(columns int, args []any) []any
	// ListIsOneArgument says that a list is one argument, so that a statement's text does not
	// depend on its length.
	ListIsOneArgument() bool
	// JoinKeys is what follows FROM in a SELECT of the rows, called t, with n primary keys. Their
	// columns are key; the arguments are the n keys as a List. For keys of several columns it is
	// planned faster than a WHERE that lists them.
	JoinKeys(table string, n int, key ...string) string
	// DeleteKeys deletes the rows with n primary keys, whose columns are key. The arguments are the
	// n keys as a List, in the order in which their rows are to be locked.
	DeleteKeys(table string, n int, key ...string) string
	// Subtract lowers a column in those of n rows that have enough, and matches only these. The
	// arguments are a List of the rows' keys and by how much, in the order in which the rows are to
	// be locked. Each key may be there once.
	Subtract(table, key, column string, n int) string
	// InsertList is an INSERT of n rows into the columns key and number. The arguments are a List
	// of them, in the order in which their rows are to be locked. It may go on with OnConflict, and
	// with RETURNING.
	InsertList(table string, n int, number string, key ...string) string
	// Returning reports whether an InsertList may end in RETURNING: it then returns its rows as
	// they are stored.
	Returning() bool
	// Parallel is how many writing transactions can make progress at once.
	Parallel() int
}

// Values returns n groups of that many placeholders: Values(2, 3) is "(?,?,?),(?,?,?)".
func Values(n, columns int) string {
	group := "(" + strings.TrimSuffix(strings.Repeat("?,", columns), ",") + "),"
	return strings.TrimSuffix(strings.Repeat(group, n), ",")
}

// A Fault classifies an engine's error by its meaning for the transaction.
type Fault int

// The faults.
const (
	Other            Fault = iota // the statement's own: a constraint, a typo
	Duplicate                     // a key that is there already
	Conflict                      // a deadlock or a snapshot conflict: retry
	LockNotAvailable              // a lock wait that ran out, or that NOWAIT refused
	Lost                          // the connection is gone, or must not be used again
	Refused                       // the server answers, but refuses: it is full, or shuts down
	ReadOnly                      // Refused because it is read-only: a COMMIT certainly had no effect
)

// Outage reports whether a fault is the database's and no statement's.
func (f Fault) Outage() bool { return f == Lost || f == Refused || f == ReadOnly }

// Package database opens the engine that Cartwheel stores in, runs transactions on it, and knows what the
// engines' dialects and error numbers have in common and what not. The modules call it; it knows none of them.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gofrs/flock"
	"github.com/jmoiron/sqlx"
)

// Config says which engine to open.
type Config struct {
	// MySQLDSN is the MySQL-protocol server to use, as go-sql-driver/mysql reads it. Empty: the embedded engine.
	MySQLDSN string
	// DataDir is the embedded engine's folder; it is created when missing.
	DataDir string
	// Serve takes the data directory's lock, which one server at a time may have. Other commands leave it false.
	Serve bool
	// Existing opens what is there and creates neither file nor database.
	Existing bool
	// StartTimeout bounds how long Open waits for a MySQL server that is not there yet. 0 means one minute.
	StartTimeout time.Duration
	// Log takes what happens while opening, and transactions' retries. nil: slog.Default.
	Log *slog.Logger
	// Observe is told of transactions, for metrics. Its zero value costs nothing.
	Observe Observer
}

// DB is an opened engine. Its methods are safe for concurrent use.
type DB struct {
	dialect   Dialect
	engine    string // what a person reads: "embedded://data/cartwheel.db"
	path      string // the embedded engine's file; empty otherwise
	log       *slog.Logger
	observe   Observer
	limits    limits
	writes    *sqlx.DB // transactions
	reads     *sqlx.DB // autocommitted reads; cannot write
	snapshots *sqlx.DB // long reads of one moment; cannot write
	setup     *sql.DB  // migrations; autocommit, no lock wait bound of ours
	lock      *flock.Flock
	closers   []func() error

	// beginWith starts a transaction. It is empty where each statement after a COMMIT does.
	beginWith string
	// checkpoints is the embedded engine's; nil otherwise.
	checkpoints *checkpointer
}

// Open opens the engine that cfg names. With a MySQL server it waits for one that is still starting, up to
// cfg.StartTimeout, and creates a database that does not exist; it migrates nothing. It blocks meanwhile.
//
// Errors: ErrLocked when another server has the data directory; whatever the engine said otherwise, with what to do.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = time.Minute
	}
	if cfg.MySQLDSN != "" {
		return openMySQL(ctx, cfg)
	}
	return openSQLite(ctx, cfg)
}

// Dialect returns how this engine writes what SQL leaves open.
func (db *DB) Dialect() Dialect { return db.dialect }

// Engine names the engine and where it is, for people. It holds no password.
func (db *DB) Engine() string { return db.engine }

// Embedded reports whether the engine lives in this process, with one server and no other instance.
func (db *DB) Embedded() bool { return db.dialect.name == sqliteDialect.name }

// Setup returns the connections for migrations: each statement commits by itself.
func (db *DB) Setup() *sql.DB { return db.setup }

// Stats returns the state of the pool that transactions take their connections from.
func (db *DB) Stats() sql.DBStats { return db.writes.Stats() }

// Ping asks the engine whether it is there. It blocks until the answer or ctx's end.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.reads.PingContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// Close closes every connection and gives the data directory's lock back. Nothing may be under way. A repeat is harmless.
func (db *DB) Close() error {
	var errs []error
	for _, closeOne := range db.closers {
		// Of a MySQL server's connection an error says only that someone else was first to end it.
		if err := closeOne(); db.Embedded() {
			errs = append(errs, err)
		}
	}
	if db.lock != nil {
		errs = append(errs, db.lock.Unlock())
	}
	return errors.Join(errs...)
}

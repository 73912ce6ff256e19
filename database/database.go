// Package database opens the engine that Cartwheel stores in and runs transactions on it. The
// modules call it; it imports none of them.
package database

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"cartwheel/database/engine"
	"cartwheel/database/mysql"
	"cartwheel/database/sqlite"
)

// Config says which engine to open.
type Config = engine.Config

// DB is an opened engine. Its methods are safe for concurrent use.
type DB struct {
	engine  *engine.Engine
	replica *mysql.Replica // nil: none
	log     *slog.Logger
	observe Observer
	limits  limits
}

// Open opens the engine that cfg names. With a MySQL server it waits for one that is still
// starting, up to cfg.StartTimeout, and creates a database that does not exist; it migrates
// nothing. It blocks until then.
//
// Errors: ErrDataDirLocked when another server or command has the data directory; whatever the
// engine said otherwise, with what to do.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	cfg.StartTimeout = cmp.Or(cfg.StartTimeout, time.Minute)
	open := sqlite.Open
	if cfg.MySQLDSN != "" {
		open = mysql.Open
	}
	e, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var replica *mysql.Replica
	if cfg.MySQLReadDSN != "" {
		if replica, err = mysql.OpenReplica(cfg.MySQLReadDSN, cfg.Log); err != nil {
			return nil, errors.Join(fmt.Errorf("the replica of --mysql-read-dsn: %w", err), e.Close())
		}
		e.Closers = append(e.Closers, replica.Close)
	}
	return &DB{engine: e, replica: replica, log: cfg.Log, observe: cfg.Observe, limits: defaultLimits}, nil
}

// Dialect writes the SQL that differs between the engines.
type Dialect = engine.Dialect

// Dialect returns how this engine writes what SQL leaves open.
func (db *DB) Dialect() Dialect { return db.engine.Dialect }

// Engine names the engine and where it is, for people. It holds no password.
func (db *DB) Engine() string { return db.engine.Location }

// Path is the embedded engine's file; empty: the engine is a server.
func (db *DB) Path() string { return db.engine.Path }

// Embedded reports whether the engine lives in this process, with one server and no other instance.
func (db *DB) Embedded() bool { return db.engine.Embedded() }

// Clustered reports whether the server is a node of a cluster (Galera, Group Replication), as it
// was when the database was opened. Row locks are local to a node there: a transaction must change
// the rows that it relies on.
func (db *DB) Clustered() bool { return db.engine.Clustered }

// Setup returns the connections for migrations: each statement commits by itself.
func (db *DB) Setup() *sql.DB { return db.engine.Setup }

// Metrics returns the metrics of the pool that transactions take their connections from.
func (db *DB) Metrics() prometheus.Collector {
	return collectors.NewDBStatsCollector(db.engine.Writes.DB, "cartwheel")
}

// Backup writes the embedded engine's data, as of one snapshot, into a new file, which is on disk
// when it returns. It blocks nobody. An existing file is not touched; whatever ends it early leaves
// none under that name.
func (db *DB) Backup(ctx context.Context, to string) error { return sqlite.Backup(ctx, db.engine, to) }

// Restore replaces the embedded engine's file in dataDir by a backup, once that is found whole. It
// returns the name that the file which was there has now, or "". A server must not be running.
//
// Errors: ErrDataDirLocked, ErrInUse, and what is wrong with the backup. Nothing is replaced then.
func Restore(ctx context.Context, dataDir string, backup io.Reader) (old string, err error) {
	return sqlite.Restore(ctx, dataDir, backup)
}

// Decommission closes the embedded engine, renames its file and only then unlocks the data
// directory, so that no server starts on data that was moved. It returns the new name. No
// transaction may be running.
//
// Errors: ErrInUse when another program has the file open, and what the file system says. The file
// keeps its name then.
func (db *DB) Decommission(ctx context.Context) (string, error) {
	return sqlite.Decommission(ctx, db.engine)
}

// Close closes every connection and unlocks the data directory. No transaction may be running. A
// repeat is harmless.
func (db *DB) Close() error { return db.engine.Close() }

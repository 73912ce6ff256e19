package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"cartwheel/database/engine"
)

// SetLimits shortens what a test would wait for; zero leaves a limit as it is. It comes before the
// first transaction.
func (db *DB) SetLimits(attempt, patience, resolve time.Duration) {
	for limit, d := range map[*time.Duration]time.Duration{
		&db.limits.attempt: attempt, &db.limits.retryTimeout: patience, &db.limits.resolve: resolve,
	} {
		if d != 0 {
			*limit = d
		}
	}
}

// Prepared returns how many statements each open connection of the transactions' pool has prepared,
// while no transaction runs.
func (db *DB) Prepared(ctx context.Context) (prepared int, err error) {
	conn, err := db.engine.Writes.Connx(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	err = conn.Raw(func(raw any) error {
		statements, _ := raw.(*engine.Conn).Statements()
		prepared = len(statements)
		return nil
	})
	return prepared, err
}

// Statements returns the statements with parameters that the open connections of both pools have
// run, while none is in use. Each is there once.
func (db *DB) Statements(ctx context.Context) (statements []string, err error) {
	found := map[string]bool{}
	for _, pool := range []*sqlx.DB{db.engine.Writes, db.engine.Reads} {
		for range pool.Stats().OpenConnections {
			conn, err := pool.Connx(ctx)
			if err != nil {
				return nil, err
			}
			defer conn.Close() //nolint:errcheck // it is unused
			if err := conn.Raw(func(raw any) error {
				prepared, seen := raw.(*engine.Conn).Statements()
				for _, statement := range slices.Concat(prepared, seen) {
					found[statement] = true
				}
				return nil
			}); err != nil {
				return nil, err
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// SetBusyTimeout sets how long the embedded engine's transactions wait for another process that
// writes.
func (db *DB) SetBusyTimeout(ctx context.Context, timeout time.Duration) error {
	_, err := db.engine.Writes.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", timeout.Milliseconds()))
	return err
}

const (
	MaxAttempts   = maxAttempts
	MaxReconnects = maxReconnects
)

// Ping asks the engine whether it is there.
func (db *DB) Ping(ctx context.Context) error { return db.engine.Reads.PingContext(ctx) }

// Stats returns the state of the pool that transactions take their connections from.
func (db *DB) Stats() sql.DBStats { return db.engine.Writes.Stats() }

package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cartwheel/database/engine"
)

// SetLimits shortens what a test would wait for; zero leaves a limit as it is. It comes before the
// first transaction.
func (db *DB) SetLimits(attempt, patience, resolve time.Duration) {
	for limit, d := range map[*time.Duration]time.Duration{
		&db.limits.attempt: attempt, &db.limits.patience: patience, &db.limits.resolve: resolve,
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
		prepared = raw.(*engine.Conn).Prepared()
		return nil
	})
	return prepared, err
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

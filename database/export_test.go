package database

import (
	"context"
	"time"
)

// SetLimits shortens what a test would wait for; zero leaves a limit as it is. It comes before the first transaction.
func (db *DB) SetLimits(attempt, patience, resolve time.Duration) {
	for limit, d := range map[*time.Duration]time.Duration{
		&db.limits.attempt: attempt, &db.limits.patience: patience, &db.limits.resolve: resolve,
	} {
		if d != 0 {
			*limit = d
		}
	}
}

// Prepared is how many statements the embedded engine's writer keeps prepared, while no transaction is under way.
func (db *DB) Prepared() int { return len(db.writer.(*single).kept.prepared) }

// SetBusyTimeout is how long the embedded engine's writer waits for another process, once it has run a transaction.
func (db *DB) SetBusyTimeout(patience time.Duration) { db.writer.(*single).kept.patience = patience }

const (
	MaxAttempts   = maxAttempts
	MaxReconnects = maxReconnects
	MaxPrepared   = maxPrepared
)

// ReservedLog is how much room the log has from the start on.
const ReservedLog = reservedLog

// BeginLogAnew copies all of the log, and reports whether somebody was in the way all the time.
func (db *DB) BeginLogAnew(ctx context.Context) (hindered bool) {
	running := db.writer.(*single).checkpoints
	own := checkpointer{db: running.db, writer: running.writer, file: running.file, log: running.log}
	return own.copyAll(ctx, "RESTART")
}

package engine

import (
	"log/slog"
	"time"
)

// Config says which engine to open.
type Config struct {
	// MySQLDSN is the MySQL-protocol server to use, as go-sql-driver/mysql reads it. Empty: the
	// embedded engine.
	MySQLDSN string
	// MySQLReadDSN is a replica for ReadStale. Empty: none.
	MySQLReadDSN string
	// DataDir is the embedded engine's folder; it is created when missing.
	DataDir string
	// LockDataDir locks the data directory, which one process at a time may do. All that write
	// need it.
	LockDataDir bool
	// LockTimeout is the maximum time that Open waits for another process that has the data
	// directory.
	LockTimeout time.Duration
	// Existing opens what is there and creates neither file nor database.
	Existing bool
	// StartTimeout bounds how long Open waits for a MySQL server that starts. 0 means one minute.
	StartTimeout time.Duration
	// Log receives waits for a server and retries of transactions. nil: slog.Default.
	Log *slog.Logger
	// Observe has hooks for metrics. Its zero value costs nothing.
	Observe Observer
}

// Observer has hooks for metrics. A nil hook costs nothing. Hooks must be fast and safe for
// concurrent use.
type Observer struct {
	// Transacted is called when a transaction has ended. The duration includes its retries.
	Transacted func(end End, took time.Duration)

	// Retry is called before another attempt. number is the engine's error number ("1213" of a
	// MySQL-protocol server, "sqlite-5" of the embedded engine), "stale" for ErrRetry, or
	// "connection" where there is none. The values are few: those of errors that are retried.
	Retry func(number string)
}

// An End is how a transaction ended.
type End string

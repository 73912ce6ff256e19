// Package sqlite opens the embedded engine for the database package: modernc.org/sqlite with a WAL
// that every commit flushes.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"

	"cartwheel/database/engine"
)

const (
	// fileName and lockName are the embedded engine's files in the data directory.
	fileName = "cartwheel.db"
	lockName = "cartwheel.lock"
	// minLockTimeout is the minimum time for which the data directory's lock is tried, and
	// lockRetry the pause between two tries.
	minLockTimeout = 100 * time.Millisecond
	lockRetry      = 20 * time.Millisecond
	// busyTimeout is how long a transaction waits for a manual SQL edit.
	busyTimeout = 5 * time.Second
	// busyRetry is the pause before Open tries again to write.
	busyRetry = 20 * time.Millisecond
	// tryTimeout is how long Open waits for another process that writes, only to see whether it
	// could write itself.
	tryTimeout = 500 * time.Millisecond
	// maxPrepared is the maximum number of prepared statements per connection.
	maxPrepared = 512
	// readers is how many readers there are beside the one writer.
	readers = 4
)

// ErrDataDirLocked means that another server or command has the data directory.
var ErrDataDirLocked = errors.New("the data directory is in use by another server or command")

// Open opens the file in cfg.DataDir and starts its checkpoints.
func Open(ctx context.Context, cfg engine.Config) (*engine.Engine, error) {
	path := filepath.Join(cfg.DataDir, fileName)
	if err := checkNotMoved(cfg.DataDir); err != nil {
		return nil, err
	}
	if cfg.Existing {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w in %s: %w", engine.ErrNoData, cfg.DataDir, err)
		}
	} else if err := os.MkdirAll(cfg.DataDir, 0o750); err != nil {
		return nil, fmt.Errorf("create the data directory: %w (choose one that this user may write to)", err)
	}
	e := &engine.Engine{
		Dialect: dialect{}, Location: "embedded://" + path, Path: path,
		Begin:         "BEGIN IMMEDIATE",
		BeginSnapshot: []string{"BEGIN DEFERRED"}, // the first SELECT takes the snapshot
	}
	if cfg.LockDataDir {
		var err error
		if e.Unlock, err = lockDir(ctx, cfg.DataDir, cfg.LockTimeout); err != nil {
			return nil, err
		}
	}
	// In a shop with many carts a batch's rows are on as many pages: the writer caches 32 MB of
	// them.
	e.Writes = pool(path, 1, busyTimeout, "_txlock=immediate&_pragma=cache_size(-32000)&_pragma=wal_autocheckpoint(0)")
	e.Reads = pool(path, readers, busyTimeout, "_pragma=query_only(1)")
	e.Snapshots = e.Reads
	setup := pool(path, 1, busyTimeout, "_txlock=immediate")
	e.Setup = setup.DB
	e.Closers = []func() error{e.Reads.Close, setup.Close, e.Writes.Close}
	// The first connection creates the file and turns the WAL on; what cannot be written shows
	// here.
	if err := tryWritingPatiently(ctx, e.Writes); err != nil {
		err = fmt.Errorf("%s cannot be written: %w (is its folder writable, and the disk not full?)", path, err)
		return nil, errors.Join(err, e.Close())
	}
	checkpoints := startCheckpoints(e.Writes, pool(path, 1, restartWait, ""), cfg.Log)
	e.Ended = checkpoints.ended
	e.Closers = append([]func() error{checkpoints.close}, e.Closers...)
	return e, nil
}

// lockDir locks a data directory for this process. It waits for the process that has it, at least
// for minLockTimeout. Errors: ErrDataDirLocked.
func lockDir(ctx context.Context, dir string, timeout time.Duration) (unlock func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(timeout, minLockTimeout))
	defer cancel()
	lock := flock.New(filepath.Join(dir, lockName))
	switch _, err := lock.TryLockContext(ctx, lockRetry); {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %s (stop that server, or choose another --data-dir)", ErrDataDirLocked, dir)
	case err != nil:
		return nil, fmt.Errorf("lock the data directory: %w (may this user write to it?)", err)
	}
	return lock.Unlock, nil
}

// tryWritingPatiently is tryWriting until it is not busy: beside a command that reads while the
// file is created, SQLite does not wait to turn the WAL on, but fails.
func tryWritingPatiently(ctx context.Context, db *sqlx.DB) error {
	for began := time.Now(); ; {
		err := tryWriting(ctx, db)
		if !isBusy(err) || time.Since(began) > busyTimeout {
			return err
		}
		select {
		case <-time.After(busyRetry):
		case <-ctx.Done():
			return err
		}
	}
}

// tryWriting writes and takes it back: a file that may only be read would open, and begin a
// transaction, just as well.
func tryWriting(ctx context.Context, db *sqlx.DB) (err error) {
	conn, err := db.Connx(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	short, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	_, err = conn.ExecContext(short, "BEGIN IMMEDIATE")
	switch {
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return nil // another process is writing, so one can
	case err != nil:
		return err
	}
	_, err = conn.ExecContext(ctx, "PRAGMA user_version = 0") // of no meaning to us
	_, undone := conn.ExecContext(ctx, "ROLLBACK")
	return errors.Join(err, undone)
}

// pool returns a pool of connections, each of which waits for others for busyTimeout. Each setting
// may be there once, because the driver sorts them.
func pool(path string, connections int, busyTimeout time.Duration, settings string) *sqlx.DB {
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	// Times are written as strftime writes them, followed by an offset of zero. A statement's own
	// rollback journal is in memory, not in a file. On macOS fsync does not reach the disk:
	// fullfsync does, and means nothing elsewhere.
	name.RawQuery = fmt.Sprintf("_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"+
		"&_pragma=fullfsync(1)&_pragma=checkpoint_fullfsync(1)&_pragma=temp_store(MEMORY)"+
		"&_time_format=sqlite&_timezone=UTC&%s", busyTimeout.Milliseconds(), settings)
	connector, err := sqlite.NewConnector(name.String())
	if err != nil {
		panic(err) // never: the query string is ours
	}
	db := sql.OpenDB(engine.CachingConnector{Connector: connector, MaxPrepared: maxPrepared, Fault: Fault})
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return sqlx.NewDb(db, "sqlite")
}

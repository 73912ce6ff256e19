package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// fileName and lockName are the embedded engine's files in the data directory.
	fileName = "cartwheel.db"
	lockName = "cartwheel.lock"
	// busyTimeout is how long a transaction waits for another process that writes beside the server.
	busyTimeout = 5 * time.Second
	// tryTimeout is how long Open waits for another process that writes, only to see whether it could write itself.
	tryTimeout = 500 * time.Millisecond
	// readers is how many readers there are beside the one writer.
	readers = 4
)

// openSQLite opens the embedded engine: modernc.org/sqlite with a write-ahead log, flushed at every commit.
func openSQLite(ctx context.Context, cfg Config) (*DB, error) {
	path := filepath.Join(cfg.DataDir, fileName)
	if err := checkNotMoved(cfg.DataDir); err != nil {
		return nil, err
	}
	if cfg.Existing {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("there is no data yet in %s: %w", cfg.DataDir, err)
		}
	} else if err := os.MkdirAll(cfg.DataDir, 0o750); err != nil {
		return nil, fmt.Errorf("create the data directory: %w (choose one that this user may write to)", err)
	}
	db := &DB{dialect: sqliteDialect, engine: "embedded://" + path, path: path, log: cfg.Log, observe: cfg.Observe, limits: defaultLimits, beginWith: "BEGIN IMMEDIATE"}
	if cfg.Serve {
		db.lock = flock.New(filepath.Join(cfg.DataDir, lockName))
		switch taken, err := db.lock.TryLock(); {
		case err != nil:
			return nil, fmt.Errorf("lock the data directory: %w (may this user write to it?)", err)
		case !taken:
			return nil, fmt.Errorf("%w: %s (stop that server, or choose another --data-dir)", ErrLocked, cfg.DataDir)
		}
	}
	// In a shop with many carts a batch's rows are on as many pages: the writer keeps 32 MB of them.
	writes := sqliteDB(path, 1, busyTimeout, "_txlock=immediate&_pragma=cache_size(-32000)&_pragma=wal_autocheckpoint(0)")
	db.reads = sqliteDB(path, readers, busyTimeout, "_pragma=query_only(1)")
	db.snapshots = db.reads
	setup := sqliteDB(path, 1, busyTimeout, "_txlock=immediate")
	db.setup = setup.DB
	db.writes = writes
	db.closers = []func() error{db.reads.Close, setup.Close, writes.Close}
	// The first connection creates the file and turns its log on; what cannot be written shows here.
	if err := tryWritingPatiently(ctx, writes); err != nil {
		return nil, errors.Join(fmt.Errorf("%s cannot be written: %w (is its folder writable, and the disk not full?)", path, err), db.Close())
	}
	db.checkpoints = startCheckpoints(writes, sqliteDB(path, 1, restartWait, ""), cfg.Log)
	db.closers = slices.Insert(db.closers, 0, db.checkpoints.close)
	return db, nil
}

// tryWritingPatiently is tryWriting until it is not busy: where several processes create the file at once, SQLite does
// not wait for the one that turns the log on, but fails.
func tryWritingPatiently(ctx context.Context, db *sqlx.DB) error {
	began := time.Now()
	for attempt := 1; ; attempt++ {
		err := tryWriting(ctx, db)
		if !isBusy(err) || time.Since(began) > busyTimeout || !pause(ctx, attempt) {
			return err
		}
	}
}

// isBusy reports whether another connection was in SQLite's way.
func isBusy(err error) bool {
	lite, ok := errors.AsType[*sqlite.Error](err)
	return ok && (lite.Code()&0xff == sqlite3.SQLITE_BUSY || lite.Code()&0xff == sqlite3.SQLITE_LOCKED)
}

// tryWriting writes and takes it back: a file that may only be read would open, and begin a transaction, just as well.
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

// sqliteDB returns a pool of connections, each of which waits for others for patience. The driver sorts its settings: were there two of a
// name in them, the last by the alphabet would hold.
func sqliteDB(path string, connections int, patience time.Duration, settings string) *sqlx.DB {
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	// Times that are arguments are written as strftime writes them, an offset of zero behind. What statements over many rows
	// keep to undo themselves is as large as the pages that they change: in memory, instead of in a file of its own.
	name.RawQuery = fmt.Sprintf("_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=temp_store(MEMORY)"+
		"&_time_format=sqlite&_timezone=UTC&%s", patience.Milliseconds(), settings)
	connector, err := sqlite.NewConnector(name.String())
	if err != nil {
		panic(err) // never: the query string is ours
	}
	db := sql.OpenDB(cachingConnector{connector})
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return sqlx.NewDb(db, "sqlite")
}

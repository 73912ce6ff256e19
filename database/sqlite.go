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
	// busyPoll is how often a transaction that waits looks whether it may begin. SQLite itself would look ever less often, at last
	// every 100 ms: between two processes that both write all the time, the one that waits would hardly ever get its turn.
	busyPoll = time.Millisecond
	// tryTimeout is how long Open waits for another process that writes, only to see whether it could write itself.
	tryTimeout = 500 * time.Millisecond
	// readers is how many readers there are beside the one writer.
	readers = 4
)

// openSQLite opens the embedded engine: modernc.org/sqlite with a write-ahead log, flushed at every commit.
func openSQLite(ctx context.Context, cfg Config) (*DB, error) {
	path := filepath.Join(cfg.DataDir, fileName)
	if err := checkNotRetired(cfg.DataDir); err != nil && !cfg.Retiring {
		return nil, err
	}
	if cfg.Existing {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("there is no data yet in %s: %w", cfg.DataDir, err)
		}
	} else if err := os.MkdirAll(cfg.DataDir, 0o750); err != nil {
		return nil, fmt.Errorf("create the data directory: %w (choose one that this user may write to)", err)
	}
	db := &DB{dialect: sqliteDialect, engine: "embedded://" + path, path: path, log: cfg.Log, observe: cfg.Observe, limits: defaultLimits}
	if cfg.Serve {
		db.lock = flock.New(filepath.Join(cfg.DataDir, lockName))
		switch taken, err := db.lock.TryLock(); {
		case err != nil:
			return nil, fmt.Errorf("lock the data directory: %w (may this user write to it?)", err)
		case !taken:
			return nil, fmt.Errorf("%w: %s (stop that server, or choose another --data-dir)", ErrLocked, cfg.DataDir)
		}
	}
	// Unless they are of this kind, the sideFile would release SQLite's locks when it is closed. Where the kernel has none,
	// or the choice was made already, things are as they are, which that sees.
	_, _ = sqlite.OFDLocking(true)
	// In a shop with many carts a batch's rows are on as many pages: the writer keeps 32 MB of them.
	writes := sqliteDB(path, 1, busyTimeout, "_txlock=immediate&_pragma=cache_size(-32000)")
	db.reads = sqliteDB(path, readers, busyTimeout, "_pragma=query_only(1)")
	db.snapshots = db.reads
	setup := sqliteDB(path, 1, busyTimeout, "_txlock=immediate")
	db.setup = setup.DB
	db.writes = writes
	kept := &single{db: writes, path: path, turn: make(chan struct{}, 1)}
	if !cfg.Serve {
		// Nobody retires what a server has open: the server need not look.
		kept.check = func() error { return checkNotRetired(cfg.DataDir) }
	}
	db.writer = kept
	db.closers = []func() error{db.reads.Close, setup.Close, kept.close, writes.Close}
	// The first connection creates the file and turns its log on; what cannot be written shows here.
	if err := tryWritingPatiently(ctx, writes); err != nil {
		return nil, errors.Join(fmt.Errorf("%s cannot be written: %w (is its folder writable, and the disk not full?)", path, err), db.Close())
	}
	file, err := openSideFile(path)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	copies := sqliteDB(path, 1, 0, "") // the checkpointer waits by itself
	kept.checkpoints = startCheckpoints(copies, kept, file, cfg.Serve && !cfg.Retiring, cfg.Log)
	db.closers = slices.Insert(db.closers, 0, kept.checkpoints.close)
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
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		panic(err) // only an unregistered driver's name
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return sqlx.NewDb(db, "sqlite")
}

// single hands out the one connection that writes, and keeps its statements prepared.
type single struct {
	path string // of the file
	db   *sqlx.DB
	turn chan struct{} // holds one token while the session is out
	kept *session      // owned by whoever has the token
	// check may refuse each transaction once it has the write lock. nil: none is refused.
	check func() error

	checkpoints *checkpointer
	written     int // pages since the checkpointer was last told; owned by whoever has the token
}

func (s *single) acquire(ctx context.Context) (*session, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.kept == nil {
		conn, err := s.connect(ctx)
		if err != nil {
			<-s.turn
			return nil, err
		}
		s.kept = &session{conn: conn, cache: cacheShort, beginWith: "BEGIN IMMEDIATE", patience: busyTimeout, check: s.check, unwatched: true}
	}
	return s.kept, nil
}

// connect opens the connection that writes. Only BEGIN waits for others, and that is ours to do: see busyPoll. So is the
// copying of what was committed: see checkpointer.
func (s *single) connect(ctx context.Context) (*sqlx.Conn, error) {
	conn, err := s.db.Connx(ctx)
	if err != nil {
		return nil, err
	}
	for _, setting := range []string{"busy_timeout", "wal_autocheckpoint"} {
		if _, err := conn.ExecContext(ctx, "PRAGMA "+setting+" = 0"); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// untilFree begins a transaction, trying again while another process writes, for as long as patience says and ctx goes on. The
// error is then SQLite's: nothing was begun, and the connection is as good as before.
func untilFree(ctx context.Context, patience time.Duration, begin func() error) (err error) {
	gone := poll(ctx, patience, func() bool {
		err = begin()
		return !isBusy(err)
	})
	if gone != nil {
		return fmt.Errorf("%w; then %w", err, gone)
	}
	return err
}

// poll tries every busyPoll until that has an end, or for as long as patience says. The error is ctx's.
func poll(ctx context.Context, patience time.Duration, try func() (done bool)) error {
	for began := time.Now(); !try() && time.Since(began) <= patience; {
		timer := time.NewTimer(busyPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	return nil
}

func (s *single) release(kept *session, broken bool) {
	defer func() { <-s.turn }()
	if broken {
		s.kept = nil
		kept.close(true)
		return
	}
	if s.written += written(kept.conn); s.written >= lookEvery {
		s.checkpoints.wrote(s.written)
		s.written = 0
	}
}

func (s *single) out() int { return len(s.turn) }

// used reports whether there is a connection on which transactions ran.
func (s *single) used() bool {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	return s.kept != nil
}

func (s *single) close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.kept != nil {
		s.kept.close(false)
		s.kept = nil
	}
	return nil
}

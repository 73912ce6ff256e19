package sqlite

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"cartwheel/database/engine"
)

const (
	// checkpointPages is the number of pages written since the last checkpoint from which on the
	// next one is due. A page that was written several times is copied once. With 4,000 pages a
	// full shop takes a quarter less (bench rows growth/add/embedded, growth/checkout/embedded).
	checkpointPages = 12000
	// restartPages is the length of the WAL, in pages, from which on it is restarted.
	restartPages = 24000
	// restartWait is the maximum time that a restart waits for readers. Transactions wait, too.
	restartWait = 20 * time.Millisecond
	// checkpointRetry is the pause after a checkpoint that failed. A full disk must not fill up
	// with the WAL.
	checkpointRetry = 100 * time.Millisecond
)

// A checkpointer copies the embedded engine's WAL into its file beside the transactions. SQLite's
// own checkpoint runs within a COMMIT, and all transactions wait for it.
type checkpointer struct {
	writes *sqlx.DB // the connection that transactions run on
	db     *sqlx.DB // a connection of its own
	log    *slog.Logger

	due     chan struct{} // has one token while a checkpoint is due
	stop    context.CancelFunc
	running sync.WaitGroup
	pages   atomic.Int64 // written since the last checkpoint
	full    atomic.Bool  // the disk was full: the WAL's room is needed
}

func startCheckpoints(writes, db *sqlx.DB, log *slog.Logger) *checkpointer {
	ctx, stop := context.WithCancel(context.Background())
	c := &checkpointer{writes: writes, db: db, log: log, due: make(chan struct{}, 1), stop: stop}
	c.running.Go(func() { c.run(ctx) })
	return c
}

// close stops the checkpoints and waits until none runs. A repeat is harmless.
func (c *checkpointer) close() error {
	c.stop()
	c.running.Wait()
	return c.db.Close()
}

// ended counts the pages that the transaction's connection has written since the last call. When
// the transaction found the disk full, it asks for a checkpoint that truncates the WAL.
func (c *checkpointer) ended(conn *sqlx.Conn, err error, _ bool) {
	_ = conn.Raw(func(raw any) error { // an error counts no pages: the next call counts them
		pages, _, err := raw.(*engine.Conn).Driver().(sqlite.DBStatus).Status(sqlite.DBStatusCacheWrite, true)
		c.pages.Add(int64(pages))
		return err
	})
	full := hasCode(err, sqlite3.SQLITE_FULL)
	if full {
		c.full.Store(true)
	}
	if full || c.pages.Load() >= checkpointPages {
		select {
		case c.due <- struct{}{}:
		default: // one is due already
		}
	}
}

func (c *checkpointer) run(ctx context.Context) {
	var retry <-chan time.Time
	for {
		select {
		case <-c.due:
		case <-retry:
		case <-ctx.Done():
			return
		}
		c.pages.Store(0)
		err := c.checkpoint(ctx)
		if err != nil && retry == nil && ctx.Err() == nil {
			c.log.Warn("a checkpoint failed: the WAL grows until one succeeds", "error", err)
		}
		retry = nil
		if err != nil {
			retry = time.After(checkpointRetry)
		}
	}
}

// checkpoint copies the WAL beside the transactions. A long WAL is then restarted: transactions
// wait for what was written during the first copy. A reader that stands in the way leaves that to
// the next checkpoint.
func (c *checkpointer) checkpoint(ctx context.Context) error {
	_, length, err := walCheckpoint(ctx, c.db.DB, "PASSIVE")
	full := c.full.Load()
	if err != nil || length < restartPages && !full {
		return err
	}
	writer, err := c.writes.Connx(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = writer.Close() }()
	if !full {
		_, _, err = walCheckpoint(ctx, c.db.DB, "RESTART")
		return err
	}
	if err = emptyWAL(ctx, c.db.DB); err == nil {
		c.full.Store(false)
	}
	return err
}

// walCheckpoint runs a checkpoint of that mode. It returns the length of the WAL in pages, and
// whether another connection kept the checkpoint from completing.
func walCheckpoint(ctx context.Context, db *sql.DB, mode string) (busy bool, length int, err error) {
	var copied int
	err = db.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &length, &copied)
	return busy, length, err
}

package database

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
)

const (
	// checkpointEvery is after how many pages, written to the log by this process since the last copy, they are copied into the file.
	// What was written several times meanwhile is copied once.
	checkpointEvery = longLog / 2
	// lookEvery is after how many of them the checkpointer looks whether the disk has room for the log to grow.
	lookEvery = longLog / 8
	// longLog is the length of the log, in pages, from which on transactions are kept waiting until all of it is copied: only then
	// does the log begin anew.
	longLog = 8000
	// tooLong is the length, in pages, from which on transactions wait though much is to be copied and flushed yet: more comes than the
	// disk takes beside them.
	tooLong = longLog * 3 / 2
	// littleRoom is the room on the disk, in bytes, from which on the log begins anew each time that it is copied, and gives its room
	// back: it would take the disk's last bytes otherwise, and then nothing can be copied out of it.
	littleRoom = 2 * longLog * 4096
	// retryCopy is how long after a copy that failed the next one is tried, though little may have been written since: on a disk that
	// was full, the log must not take the room that the file needs.
	retryCopy = 100 * time.Millisecond
	// fewPages is how few, written during the last copy, are copied with transactions waiting; mostCopies is after how many copies
	// they wait all the same.
	fewPages   = 250
	mostCopies = 8
	// standstill is how long a gap of a reader, or of another process, that stands in the way is looked for.
	standstill = 100 * time.Millisecond
	// standstillPause is how long after that was in vain none is looked for: a backup reads for longer. Then each look at the log
	// looks for one.
	standstillPause = 200 * time.Millisecond
)

// A checkpointer copies what stands in the embedded engine's log into its file, beside the transactions. SQLite by itself does
// it within whichever commit finds the log long, with all others waiting behind that; and where two processes write, with
// every commit, because one of them writes on while the other copies, and the log never ends.
type checkpointer struct {
	db     *sqlx.DB
	writer *single
	file   sideFile
	log    *slog.Logger
	// reserve: the log's room on the disk is taken in advance, see reserveLog.
	reserve bool

	due    chan struct{} // has one token while there is something to look at
	stop   context.CancelFunc
	done   chan struct{} // closed when run has returned
	pages  atomic.Int64  // written since the last copy
	failed bool          // run's: the last one failed, which was told
	vain   time.Time     // run's: when a gap was last looked for in vain; zero once the log begins anew
}

// startCheckpoints starts copying what the writer writes into the file. The caller stops it with close.
func startCheckpoints(db *sqlx.DB, writer *single, file sideFile, reserve bool, log *slog.Logger) *checkpointer {
	ctx, stop := context.WithCancel(context.Background())
	c := &checkpointer{
		db: db, writer: writer, file: file, log: log, reserve: reserve, due: make(chan struct{}, 1), stop: stop, done: make(chan struct{}),
	}
	go c.run(ctx)
	return c
}

// close stops copying, waits until that is done, and closes the connection. A repeat is harmless. What a command wrote is copied
// before: beside a server that writes next to nothing, one command after the other would lengthen the log.
func (c *checkpointer) close() error {
	c.stop()
	<-c.done
	if c.writer.used() && !c.reserve {
		c.copy(context.Background(), "PASSIVE")
	}
	return errors.Join(c.db.Close(), c.file.close())
}

// wrote tells that so many pages more are in the log.
func (c *checkpointer) wrote(pages int) {
	c.pages.Add(int64(pages))
	select {
	case c.due <- struct{}{}:
	default:
	}
}

func (c *checkpointer) run(ctx context.Context) {
	defer close(c.done)
	if c.reserve {
		c.reserveLog(ctx)
	}
	for {
		var again <-chan time.Time
		if c.failed {
			again = time.After(retryCopy)
		}
		select {
		case <-c.due:
		case <-again:
		case <-ctx.Done():
			return
		}
		little := !c.file.hasRoom(littleRoom)
		pages := c.pages.Load()
		if pages < checkpointEvery && !little && !c.failed && c.vain.IsZero() {
			continue
		}
		// What it says is as of its beginning: it does not see whether others wrote on meanwhile.
		log := c.copy(ctx, "PASSIVE")
		if log.length < 0 {
			continue // another connection copies: at the next look there is less to do
		}
		c.pages.Add(-pages)
		mode := "RESTART"
		switch {
		case little:
			mode = "TRUNCATE"
		case log.length < longLog:
			c.vain = time.Time{}
			continue
		case time.Since(c.vain) < standstillPause:
			continue
		}
		for range mostCopies { // each has what came during the one before, which is less each time, unless more comes than is copied
			before := log.copied
			if log = c.copy(ctx, "PASSIVE"); log.length-before < fewPages || log.length > tooLong {
				break
			}
		}
		c.vain = time.Time{}
		if c.copyAll(ctx, mode) {
			c.vain = time.Now()
		}
	}
}

// copyAll copies all of the log, with our transactions waiting, so that it begins anew. Where a reader, or another process, stands in the
// way it tries again, as often as a transaction does, for as long as standstill says; transactions go on between two tries. It reports
// whether it was hindered to the end.
func (c *checkpointer) copyAll(ctx context.Context, mode string) (hindered bool) {
	_ = poll(ctx, standstill, func() bool {
		select {
		case c.writer.turn <- struct{}{}:
			defer func() { <-c.writer.turn }()
		case <-ctx.Done():
			return true
		}
		hindered = c.othersWrite(ctx) || c.copy(ctx, mode).hindered && !c.failed
		return !hindered
	})
	return hindered
}

// othersWrite reports whether another process is writing. Asking for a copy would tell it as well, but SQLite copies and flushes what it can
// then, again at each try, with our transactions waiting.
func (c *checkpointer) othersWrite(ctx context.Context) bool {
	conn, err := c.db.Connx(ctx)
	if err != nil {
		return false // the copy will say
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return isBusy(err)
	}
	_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // of nothing
	return false
}

// A logState is what a copy says of the log.
type logState struct {
	length, copied int  // in pages; -1 while another connection copies
	hindered       bool // by somebody who writes, reads or copies; PASSIVE: only by the last
}

// copy copies the log into the file: PASSIVE, what no reader stands in the way of, beside writers; RESTART, all of it while nobody
// writes or reads it, so that it begins anew; TRUNCATE, the same, and then its room is given back. Where somebody does write or
// read, these do what PASSIVE does, and say that they were hindered.
//
// Where somebody writes meanwhile, SQLite leaves a PASSIVE copy to be flushed with the one that has all, which would then keep
// transactions waiting for as long as the disk takes for thousands of pages: each is flushed when it is made.
func (c *checkpointer) copy(ctx context.Context, mode string) (log logState) {
	err := c.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&log.hindered, &log.length, &log.copied)
	if err == nil && mode == "PASSIVE" && log.copied > 0 && log.length <= tooLong {
		err = c.file.flush()
	}
	if err != nil && ctx.Err() == nil && !c.failed {
		c.log.Warn("the embedded engine's log could not be copied into its file: it grows until that succeeds", "error", err)
	}
	c.failed = err != nil
	return log
}

// written returns how many pages a connection has written to the log since it was last asked.
func written(conn *sqlx.Conn) (pages int) {
	_ = conn.Raw(func(raw any) error { // without an answer it counts as none; the next one has them
		n, _, err := raw.(sqlite.DBStatus).Status(sqlite.DBStatusCacheWrite, true)
		pages = n
		return err
	})
	return pages
}

package database

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	// reservedLog is how much room, in bytes, the log has from the start on: what it grows to before it begins anew, and what comes
	// while it is copied.
	reservedLog = longLog * 5 / 4 * 4120
	// reserveChunk is how much of it is written at a time, with transactions waiting: less than a millisecond's work.
	reserveChunk = 768 << 10
	// reserveRetry is how often it is looked whether another process still writes.
	reserveRetry = busyPoll
)

// reserveLog takes the log's room on the disk in advance. A commit that makes the log's file longer takes two to three times as long to
// flush as one that overwrites what is there, since the file's length must be flushed, too. What cannot be taken is taken when it is
// needed. It blocks until that is done.
//
// The room is zeros behind what the log holds, which SQLite takes for what it is: no frame of this log, since its salts are wrong.
func (c *checkpointer) reserveLog(ctx context.Context) {
	if !tellsRoom || !c.file.hasRoom(reservedLog+littleRoom) {
		return
	}
	log, err := os.OpenFile(c.writer.path+"-wal", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer func() { _ = log.Close() }() // SQLite has it open, and keeps no locks on it
	conn, err := c.db.Connx(ctx)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	zeros := make([]byte, reserveChunk)
	for more := true; more; {
		select {
		case c.writer.turn <- struct{}{}:
			more, err = appendAlone(ctx, conn, log, zeros)
			<-c.writer.turn
		case <-ctx.Done():
			return
		}
		if err == nil {
			_ = log.Sync() // not with the turn; or a commit flushes it, on a slow disk for long
			continue
		} else if !isBusy(err) {
			return
		}
		more = true
		select {
		case <-time.After(reserveRetry): // not with the turn: our transactions wait for the other process themselves
		case <-ctx.Done():
			return
		}
	}
}

// appendAlone appends the zeros to the log while nobody writes to it, in this process or another. It reports whether there is more to do, and
// fails where another process is writing.
func appendAlone(ctx context.Context, conn *sqlx.Conn, log *os.File, zeros []byte) (more bool, err error) {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return false, err
	}
	defer func() {
		_, undone := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		err = errors.Join(err, undone)
	}()
	size, err := log.Seek(0, io.SeekEnd)
	if err != nil || size >= reservedLog {
		return false, err
	}
	if _, err := log.WriteAt(zeros, size); err != nil {
		return false, errors.Join(err, log.Truncate(size))
	}
	return true, nil
}

package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"

	"cartwheel/database/engine"
)

func open(t *testing.T, dir string) *engine.Engine {
	t.Helper()
	e, err := Open(t.Context(), engine.Config{DataDir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func execute(t *testing.T, e *engine.Engine, statement string) {
	t.Helper()
	if _, err := e.Writes.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// After a full disk the WAL's room is wanted back, as soon as nobody reads it.
func TestCheckpoint_truncatesAfterAFullDiskOnceReadersEnded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, other := open(t, dir), open(t, dir)
	c := &checkpointer{writes: e.Writes, db: pool(e.Path, 1, restartWait, ""), log: slog.Default()}
	t.Cleanup(func() { _ = c.db.Close() })
	execute(t, e, "CREATE TABLE large (what blob)")
	reader, err := other.Writes.Connx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.ExecContext(t.Context(), "BEGIN; SELECT COUNT(*) FROM large"); err != nil {
		t.Fatal(err)
	}
	execute(t, e, "INSERT INTO large VALUES (zeroblob(400000))")
	c.full.Store(true)
	if err := c.checkpoint(t.Context()); !errors.Is(err, ErrInUse) || !c.full.Load() {
		t.Errorf("beside a reader: %v, want ErrInUse, to be tried again", err)
	}
	if _, err := reader.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.checkpoint(t.Context()); err != nil || c.full.Load() {
		t.Errorf("after the reader: %v", err)
	}
	if info, err := os.Stat(e.Path + "-wal"); err != nil || info.Size() != 0 {
		t.Errorf("the WAL has %d bytes, error %v", info.Size(), err)
	}
}

// A checkpoint waits neither for another process that writes nor for one that reads, and is done
// once they have ended.
func TestCheckpoint_doesNotWaitForOtherProcesses(t *testing.T) {
	t.Parallel()
	for _, begin := range []string{"BEGIN IMMEDIATE", "BEGIN; SELECT COUNT(*) FROM large"} {
		dir := t.TempDir()
		e, other := open(t, dir), open(t, dir)
		c := &checkpointer{writes: e.Writes, db: pool(e.Path, 1, restartWait, ""), log: slog.Default()}
		t.Cleanup(func() { _ = c.db.Close() })
		execute(t, e, "CREATE TABLE large (what blob)")
		for range 100 {
			execute(t, e, "INSERT INTO large VALUES (zeroblob(400000))")
		}
		conn, err := other.Writes.Connx(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ExecContext(t.Context(), begin); err != nil {
			t.Fatal(err)
		}
		if err := c.checkpoint(t.Context()); err != nil { // it would fail after a wait of 5 s
			t.Errorf("beside %s: %v", begin, err)
		}
		if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.checkpoint(t.Context()); err != nil {
			t.Error(err)
		}
		execute(t, e, "INSERT INTO large VALUES (zeroblob(1))")
		var busy, length, copied int
		if err := c.db.QueryRowContext(t.Context(), "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &length, &copied); err != nil || length > 100 {
			t.Errorf("beside %s: the WAL has %d pages after it was restarted, error %v", begin, length, err)
		}
	}
}

package database_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

const pageSize = 4096

func walSize(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "cartwheel.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// writeBlob inserts a blob of so many bytes.
func writeBlob(t *testing.T, db *database.DB, bytes int) {
	t.Helper()
	transact(t, db, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "INSERT INTO large VALUES (zeroblob(?))", bytes)
		return err
	})
}

func withBlobs(t *testing.T) (db *database.DB, dir string) {
	t.Helper()
	db, dir = embedded(t)
	transact(t, db, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TABLE large (what blob)")
		return err
	})
	return db, dir
}

func TestCheckpointer_boundsTheWAL(t *testing.T) {
	t.Parallel()
	db, dir := withBlobs(t)
	editor := open(t, database.Config{DataDir: dir}) // a manual SQL edit now and then
	const writes, bytes = 400, 400_000
	for i := range writes {
		writeBlob(t, db, bytes)
		if i%20 == 0 {
			writeBlob(t, editor, 1)
		}
	}
	if size := walSize(t, dir); size > 3*database.RestartPages*pageSize {
		t.Errorf("of %d MB that were written, the WAL has %d", writes*bytes/1_000_000, size/1_000_000)
	}
	if info, err := os.Stat(filepath.Join(dir, "cartwheel.db")); err != nil || info.Size() < writes*bytes/2 {
		t.Errorf("the file has %d bytes, error %v", info.Size(), err)
	}
}

// An audit or a backup reads one snapshot for long, which the WAL must keep until then.
func TestCheckpointer_longReaderDoesNotBlockTransactions(t *testing.T) {
	t.Parallel()
	db, dir := withBlobs(t)
	err := db.Snapshot(t.Context(), func(reader *database.Tx) error {
		var rows []int
		if err := reader.Select(t.Context(), &rows, "SELECT COUNT(*) FROM large"); err != nil {
			return err
		}
		for range 150 {
			writeBlob(t, db, 400_000)
		}
		if err := db.Checkpoint(t.Context()); err != nil {
			t.Errorf("a checkpoint beside a reader: %v", err)
		}
		writeBlob(t, db, 1)
		return reader.Select(t.Context(), &rows, "SELECT COUNT(*) FROM large")
	})
	if err != nil {
		t.Fatal(err)
	}
	long := walSize(t, dir)
	if long < 60_000_000 {
		t.Errorf("the WAL has %d bytes: it did not keep what the reader sees", long)
	}
	if err := db.Checkpoint(t.Context()); err != nil {
		t.Error(err)
	}
	for range 10 { // at the beginning of the WAL
		writeBlob(t, db, 400_000)
	}
	if size := walSize(t, dir); size > long {
		t.Errorf("the WAL grew from %d to %d bytes after the reader had ended", long, size)
	}
}

// What an ended command wrote is in the file, so that a copy of the file alone has it.
func TestCheckpointer_closeLeavesNothingInTheWAL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := database.Open(t.Context(), database.Config{DataDir: dir, Serve: true, Log: databasetest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	transact(t, db, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TABLE large (what blob)")
		return err
	})
	writeBlob(t, db, 1_000_000)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "cartwheel.db"))
	if err != nil || info.Size() < 1_000_000 {
		t.Errorf("the file has %d bytes, error %v", info.Size(), err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cartwheel.db-wal")); !os.IsNotExist(err) {
		t.Errorf("the WAL is still there, error %v", err)
	}
}

func TestCheckpointer_anotherProcessThatWritesIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	db, dir := withBlobs(t)
	for range 100 {
		writeBlob(t, db, 400_000)
	}
	end := otherWriter(t, dir)
	done := make(chan error, 1)
	go func() { done <- db.Checkpoint(t.Context()) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second): // the other process writes until after this
		t.Error("the checkpoint waits for the other process")
	}
	end()
}

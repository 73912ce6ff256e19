package database_test

import (
	"os"
	"path/filepath"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// restartBytes is the length of the WAL, in bytes, from which on it is restarted.
const restartBytes = 24000 * 4096

func walSize(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "cartwheel.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// writeBlob inserts a blob of that many bytes.
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
	const writes, bytes = 1000, 400_000
	for i := range writes {
		writeBlob(t, db, bytes)
		if i%20 == 0 {
			writeBlob(t, editor, 1)
		}
	}
	if size := walSize(t, dir); size > 3*restartBytes {
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
		return reader.Select(t.Context(), &rows, "SELECT COUNT(*) FROM large")
	})
	if err != nil {
		t.Fatal(err)
	}
	long := walSize(t, dir)
	if long < 60_000_000 {
		t.Errorf("the WAL has %d bytes: it did not keep what the reader sees", long)
	}
	for range 1000 { // until a checkpoint restarts the WAL
		before := walSize(t, dir)
		if writeBlob(t, db, 400_000); walSize(t, dir) == before {
			return
		}
	}
	t.Errorf("the WAL grew from %d to %d bytes after the reader had ended", long, walSize(t, dir))
}

// What an ended command wrote is in the file, so that a copy of the file alone has it.
func TestCheckpointer_closeLeavesNothingInTheWAL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := database.Open(t.Context(), database.Config{DataDir: dir, LockDataDir: true, Log: databasetest.Log(t)})
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

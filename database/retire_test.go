package database_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestARetiredDataDirectoryOpensNoMore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := database.Config{DataDir: dir, Serve: true, Log: databasetest.Log(t)}
	db, err := database.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Setup().ExecContext(t.Context(), "CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	moved, err := db.Retire(t.Context())
	if want := filepath.Join(dir, "cartwheel.db.moved"); moved != want || err != nil {
		t.Fatalf("got %s, error %v; want %s", moved, err, want)
	}
	for _, existing := range []bool{false, true} {
		cfg.Existing = existing
		if _, err := database.Open(t.Context(), cfg); !errors.Is(err, database.ErrRetired) {
			t.Errorf("opened again: %v, want %v", err, database.ErrRetired)
		}
	}

	// Renamed back, it has all that it had: the log went into the file, and the lock was given back.
	if err := os.Rename(moved, filepath.Join(dir, "cartwheel.db")); err != nil {
		t.Fatal(err)
	}
	again, err := database.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Setup().ExecContext(t.Context(), "INSERT INTO kept VALUES (1)"); err != nil {
		t.Error(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestAFileThatIsInUseIsNotRetired(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := database.Open(t.Context(), database.Config{DataDir: dir, Serve: true, Log: databasetest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	other := databasetest.Open(t, database.Config{DataDir: dir})
	reading, err := other.Setup().BeginTx(t.Context(), nil) // has the write lock
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reading.Rollback() }()
	if _, err := db.Retire(t.Context()); err == nil {
		t.Error("a file that another program writes to was retired")
	}
	if _, err := os.Stat(filepath.Join(dir, "cartwheel.db")); err != nil {
		t.Errorf("the file lost its name: %v", err)
	}
}

func TestAWriterThatWaitsWhileTheDataIsSealedWritesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := database.Config{DataDir: dir, Serve: true, Log: databasetest.Log(t)}
	db, err := database.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Setup().ExecContext(t.Context(), "CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	command := databasetest.Open(t, database.Config{DataDir: dir})
	write := func() error {
		return command.Transact(t.Context(), func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO kept VALUES (1)")
			return err
		}, nil)
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	copying, err := db.Setup().BeginTx(t.Context(), nil) // has the write lock
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- write() }()
	select {
	case err := <-waiting:
		t.Errorf("it did not wait for the copy: %v", err)
	case <-time.After(100 * time.Millisecond): // by now it waits; if not, it is refused the same
	}
	if err := db.Seal(); err != nil {
		t.Fatal(err)
	}
	if err := copying.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, database.ErrRetired) {
		t.Errorf("the writer that waited: %v, want %v", err, database.ErrRetired)
	}

	// Nobody opens it meanwhile, and whoever has it open is refused before and after it has its new name.
	if _, err := database.Open(t.Context(), database.Config{DataDir: dir}); !errors.Is(err, database.ErrRetired) {
		t.Errorf("opened while it is sealed: %v, want %v", err, database.ErrRetired)
	}
	if err := db.Close(); err != nil { // the move is killed
		t.Fatal(err)
	}
	if _, err := database.Open(t.Context(), cfg); !errors.Is(err, database.ErrRetired) {
		t.Errorf("a server on what is sealed: %v, want %v", err, database.ErrRetired)
	}
	cfg.Retiring = true
	if db, err = database.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var rows int
	if err := db.Setup().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM kept").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows, error %v; want the one that was written before", rows, err)
	}
	moved, err := db.Retire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := write(); !errors.Is(err, database.ErrRetired) {
		t.Errorf("a writer that has the renamed file open: %v, want %v", err, database.ErrRetired)
	}

	// Renamed back, it is as before: no seal is left.
	if err := os.Rename(moved, filepath.Join(dir, "cartwheel.db")); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Errorf("after it was renamed back: %v", err)
	}
}

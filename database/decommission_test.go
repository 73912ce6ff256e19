package database_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestDecommission_directoryOpensNoMore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := database.Config{DataDir: dir, LockDataDir: true, Log: databasetest.Log(t)}
	db, err := database.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Setup().ExecContext(t.Context(), "CREATE TABLE numbers (n int)"); err != nil {
		t.Fatal(err)
	}
	moved, err := db.Decommission(t.Context())
	if want := filepath.Join(dir, "cartwheel.db.moved"); moved != want || err != nil {
		t.Fatalf("got %s, error %v; want %s", moved, err, want)
	}
	for _, existing := range []bool{false, true} {
		cfg.Existing = existing
		if _, err := database.Open(t.Context(), cfg); !errors.Is(err, database.ErrMoved) {
			t.Errorf("opened again: %v, want %v", err, database.ErrMoved)
		}
	}

	// Renamed back, it has all that it had: the log went into the file, and the lock was given
	// back.
	if err := os.Rename(moved, filepath.Join(dir, "cartwheel.db")); err != nil {
		t.Fatal(err)
	}
	again, err := database.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Setup().ExecContext(t.Context(), "INSERT INTO numbers VALUES (1)"); err != nil {
		t.Error(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestDecommission_fileInUseKeepsItsName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := database.Open(t.Context(), database.Config{DataDir: dir, LockDataDir: true, Log: databasetest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	other := databasetest.Open(t, database.Config{DataDir: dir})
	reading, err := other.Setup().BeginTx(t.Context(), nil) // has the write lock
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reading.Rollback() }()
	if _, err := db.Decommission(t.Context()); err == nil {
		t.Error("a file that another program writes to was decommissioned")
	}
	if _, err := os.Stat(filepath.Join(dir, "cartwheel.db")); err != nil {
		t.Errorf("the file lost its name: %v", err)
	}
}

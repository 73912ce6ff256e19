package database_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

func TestBackup_holdsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	if _, err := db.Setup().ExecContext(t.Context(), "INSERT INTO product_details VALUES ('mug', 'Mug', 7)"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "cartwheel.db")
	// While a server writes.
	err := db.Transact(t.Context(), func(tx *database.Tx) error {
		if _, err := tx.Exec(t.Context(), "UPDATE product_details SET quantity = 6"); err != nil {
			return err
		}
		return db.Backup(t.Context(), file)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Backup(t.Context(), file); err == nil {
		t.Error("a backup was overwritten")
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a backup that was refused changed the file that was there (error %v)", err)
	}
	if parts, err := filepath.Glob(file + ".*"); err != nil || len(parts) > 0 {
		t.Errorf("a backup that was refused left %v, error %v", parts, err)
	}
	restored := databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
	var quantity int
	var sound string
	if err := restored.Setup().QueryRowContext(t.Context(), "SELECT quantity FROM product_details WHERE product_id = 'mug'").Scan(&quantity); err != nil || quantity != 7 {
		t.Errorf("%d on hand, error %v; want the 7 that were committed", quantity, err)
	}
	if err := restored.Setup().QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
		t.Errorf("integrity: %s, error %v", sound, err)
	}
}

func TestBackup_failureLeavesNoFile(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Backup(ctx, filepath.Join(dir, "backup.db")); err == nil {
		t.Error("a cancelled backup succeeded")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("left %v, error %v; want nothing", files, err)
	}
	if err := databasetest.Open(t, database.Config{MySQLDSN: databasetest.ServerDSN(t, dbserver.MySQL)}).Backup(t.Context(), filepath.Join(dir, "backup.db")); !errors.Is(err, database.ErrNotEmbedded) {
		t.Errorf("on MySQL: %v, want %v", err, database.ErrNotEmbedded)
	}
}

func TestBackup_cancellationLeavesNoFile(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	for _, statement := range []string{
		"CREATE TABLE large (what blob)",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO large SELECT zeroblob(1000000) FROM n",
	} {
		if _, err := db.Setup().ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	part := filepath.Join(dir, ".backup-*", "backup.db")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- db.Backup(ctx, filepath.Join(dir, "backup.db")) }()
	for {
		if found, err := filepath.Glob(part); err == nil && len(found) > 0 {
			if info, err := os.Stat(found[0]); err == nil && info.Size() > 0 {
				break
			}
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended before half of it was seen: %v", err)
		default:
		}
	}
	cancel()
	if err := <-ended; err == nil {
		t.Fatal("it was not broken off")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("left %v, error %v; want nothing", files, err)
	}
}

func TestBackup_twoToOneNameAtOnceLeaveOneWholeFile(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	if _, err := db.Setup().ExecContext(t.Context(), "INSERT INTO product_details VALUES ('mug', 'Mug', 7)"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "cartwheel.db")
	const backups = 4
	results := make(chan error, backups)
	for range backups {
		go func() { results <- db.Backup(t.Context(), file) }()
	}
	succeeded := 0
	for range backups {
		switch err := <-results; {
		case err == nil:
			succeeded++
		case !errors.Is(err, os.ErrExist):
			t.Errorf("got %v, want that the file exists", err)
		}
	}
	if succeeded != 1 {
		t.Errorf("%d backups to one name succeeded, want 1", succeeded)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".backup-*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, error %v", left, err)
	}
	restored := databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
	var quantity int
	if err := restored.Setup().QueryRowContext(t.Context(), "SELECT quantity FROM product_details").Scan(&quantity); err != nil || quantity != 7 {
		t.Errorf("%d on hand, error %v", quantity, err)
	}
}

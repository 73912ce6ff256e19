package database_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestEmbedded_fullDiskRefusesUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mountSmall(t, dir)
	db := databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
	store(t, db, "shoe")

	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 4<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	for i := range 3 { // what is left of the log's last page is soon full
		var err error
		for j := 0; err == nil && j < 100; j++ {
			err = db.Transact(t.Context(), func(tx *database.Tx) error {
				return insert(t, tx, fmt.Sprint(strings.Repeat("x", 90), i, " ", j), 1)
			}, nil)
		}
		is(t, err, database.ErrUnavailable)
		isNot(t, err, database.ErrOutcomeUnknown)
	}
	isStored(t, db, "shoe", true)

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	store(t, db, "hat")
	isStored(t, db, "hat", true)
	isClean(t, db)
}

func TestEmbedded_namesAReadOnlyDisk(t *testing.T) {
	t.Parallel()
	for _, filled := range []bool{false, true} {
		dir := t.TempDir()
		mountSmall(t, dir)
		if filled {
			db, err := database.Open(t.Context(), database.Config{DataDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		_, err := opened(t, t.Context(), database.Config{DataDir: dir})
		if err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("with a database there: %v: the error does not name the directory: %v", filled, err)
		}
	}
}

func TestEmbedded_namesAReadOnlyFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, database.Config{DataDir: dir})
	file := filepath.Join(dir, "cartwheel.db")
	switch err := syscall.Mount(file, file, "", syscall.MS_BIND, ""); {
	case errors.Is(err, syscall.EPERM):
		databasetest.SkipUnlessCI(t, "only root may mount a file on itself")
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(file, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Mount("", file, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := opened(t, t.Context(), database.Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("the error does not name it: %v", err)
	}
}

// mountSmall makes a folder a small disk until the test ends. Only root may; else the test is
// skipped.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	switch err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); {
	case errors.Is(err, syscall.EPERM):
		databasetest.SkipUnlessCI(t, "only root may mount a small disk")
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

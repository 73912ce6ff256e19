package database

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// retiredName is what the embedded engine's file is called once its data lives elsewhere.
const retiredName = fileName + ".moved"

// ErrRetired means that a data directory's data lives elsewhere.
var ErrRetired = errors.New("the data of this directory was moved to a MySQL server")

// checkNotRetired refuses a directory whose data was moved: a server that was started on it without its --mysql-dsn
// would open an empty shop.
func checkNotRetired(dir string) error {
	moved := filepath.Join(dir, retiredName)
	if _, err := os.Stat(moved); err != nil {
		return nil //nolint:nilerr // what cannot be looked at shows when the file itself is opened
	}
	if _, err := os.Stat(filepath.Join(dir, fileName)); err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s (name the server with --mysql-dsn or MYSQL_DSN, or choose another --data-dir; to go back, rename %s to %s)",
		ErrRetired, dir, moved, fileName)
}

// ErrInUse means that another program still has the embedded engine's file open.
var ErrInUse = errors.New("another program has the file open")

// Retire closes the embedded engine as Close does, and before it gives the data directory's lock back, it renames the
// file, so that no server starts on data that lives elsewhere by now. It returns the new name. Nothing may be under
// way.
//
// Errors: ErrInUse when the file's log cannot be emptied, and what the file system says. The file keeps its name
// then.
func (db *DB) Retire(ctx context.Context) (string, error) {
	if db.path == "" || db.lock == nil {
		return "", errors.New("only a data directory that is locked can be retired")
	}
	to := filepath.Join(filepath.Dir(db.path), retiredName)
	if _, err := os.Stat(to); err == nil {
		return "", errors.Join(fmt.Errorf("%s is there already, from an earlier move: take it away", to), db.Close())
	}
	// What stands in the log alone would stay behind.
	var busy, frames, moved int
	err := db.setup.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved)
	if err == nil && busy != 0 {
		err = ErrInUse
	}
	for _, closeOne := range db.closers {
		err = errors.Join(err, closeOne())
	}
	if err == nil {
		err = os.Rename(db.path, to)
	}
	return to, errors.Join(err, db.lock.Unlock())
}

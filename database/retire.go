package database

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// retiredName is what the embedded engine's file is called once its data lives elsewhere.
	retiredName = fileName + ".moved"
	// sealName is a file that says the same as long as the other has not got that name yet.
	sealName = fileName + ".moving"
)

// ErrRetired means that a data directory's data lives elsewhere.
var ErrRetired = errors.New("the data of this directory was moved to a MySQL server")

// checkNotRetired refuses a directory whose data was moved: a server that was started on it without its --mysql-dsn
// would open an empty shop, or sell the same stock again.
func checkNotRetired(dir string) error {
	const elsewhere = "name the server with --mysql-dsn or MYSQL_DSN, or choose another --data-dir"
	seal := filepath.Join(dir, sealName)
	if _, err := os.Stat(seal); err == nil {
		return fmt.Errorf("%w: %s (%s; cartwheel migrate move, run again, ends the move; to go back, remove %s)", ErrRetired, dir, elsewhere, seal)
	}
	moved := filepath.Join(dir, retiredName)
	if _, err := os.Stat(moved); err != nil {
		return nil //nolint:nilerr // what cannot be looked at shows when the file itself is opened
	}
	if _, err := os.Stat(filepath.Join(dir, fileName)); err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s (%s; to go back, rename %s to %s)", ErrRetired, dir, elsewhere, moved, fileName)
}

// Seal refuses the embedded engine's data to all writers but those that have begun, and to everybody who opens it from
// now on: with ErrRetired. The caller has the write lock, and gives it back after this: so whoever writes has either
// written before the caller read, or writes no more. It lasts, through crashes too, until Retire is done; the directory
// opens only with Config.Retiring meanwhile. A repeat is harmless.
func (db *DB) Seal() error {
	if db.path == "" || db.lock == nil {
		return errors.New("only a data directory that is locked can be sealed")
	}
	seal := filepath.Join(filepath.Dir(db.path), sealName)
	file, err := os.OpenFile(seal, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("seal the data: %w", err)
	}
	return errors.Join(file.Close(), flush(seal), flush(filepath.Dir(seal)))
}

// ErrInUse means that another program still has the embedded engine's file open.
var ErrInUse = errors.New("another program has the file open")

// Retire closes the embedded engine as Close does, and before it gives the data directory's lock back, it renames the
// file, so that no server starts on data that lives elsewhere by now, and takes the seal away. It returns the new name.
// Nothing of the caller's may be under way.
//
// Errors: ErrInUse when the file's log cannot be emptied, and what the file system says. The file keeps its name
// then, and stays sealed if it was.
func (db *DB) Retire(ctx context.Context) (string, error) {
	if db.path == "" || db.lock == nil {
		return "", errors.New("only a data directory that is locked can be retired")
	}
	to := filepath.Join(filepath.Dir(db.path), retiredName)
	if _, err := os.Stat(to); err == nil {
		return "", errors.Join(fmt.Errorf("%s is there already, from an earlier move: take it away", to), db.Close())
	}
	// What stands in the log alone would stay behind.
	err := db.emptyLog(ctx)
	for _, closeOne := range db.closers {
		err = errors.Join(err, closeOne())
	}
	if err == nil {
		err = db.rename(to)
	}
	return to, errors.Join(err, db.lock.Unlock())
}

// emptyLog copies all of the log into the file, when nothing is under way.
func (db *DB) emptyLog(ctx context.Context) error {
	// For a copy under way, of ours or of another process, SQLite does not wait.
	for began := time.Now(); ; {
		var busy, length, copied int
		err := db.setup.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &length, &copied)
		if err != nil || busy == 0 {
			return err
		}
		if time.Since(began) > busyTimeout || !pause(ctx, 1) {
			return ErrInUse
		}
	}
}

// rename gives the file its new name. The seal goes last: at no moment does the directory look as if nothing had moved.
func (db *DB) rename(to string) error {
	if err := os.Rename(db.path, to); err != nil {
		return err
	}
	folder := filepath.Dir(db.path)
	if err := flush(folder); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(folder, sealName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// stageName is the folder in the data directory in which a restore checks the backup.
const stageName = ".restore"

// isOurs asks whether a file has the tables of a shop.
const isOurs = `SELECT iif(count(*) > 0, 'ok', 'it has none of Cartwheel''s tables')
	FROM sqlite_master WHERE name = 'goose_db_version'`

// Restore replaces the embedded engine's file in dir by a backup, which it first reads to its end
// and checks. It holds the directory's lock. It returns the new name of the old file, or "" if
// there was none.
//
// Errors: ErrDataDirLocked while a server runs, ErrInUse while another program uses the file, the
// damage of the backup, and those of the file system. The old file then stays.
func Restore(ctx context.Context, dir string, backup io.Reader) (old string, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("create the data directory: %w", err)
	}
	unlock, err := lockDir(ctx, dir, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	stage := filepath.Join(dir, stageName)
	if err := errors.Join(os.RemoveAll(stage), os.Mkdir(stage, 0o700)); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	part, path := filepath.Join(stage, fileName), filepath.Join(dir, fileName)
	if err := receive(part, backup); err != nil {
		return "", err
	}
	if err := check(ctx, part, "PRAGMA integrity_check(1)", isOurs); err != nil {
		return "", err
	}
	if err := errors.Join(flush(part, os.O_RDWR), ownLike(part, dir)); err != nil {
		return "", err
	}
	if old, err = setAside(ctx, path); err != nil {
		return "", err
	}
	return old, errors.Join(os.Rename(part, path), flush(dir, os.O_RDONLY))
}

func receive(path string, from io.Reader) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = io.Copy(file, from)
	return err
}

// setAside gives the file a second name, which it returns, and leaves no WAL that SQLite would
// apply to its successor. A damaged file keeps its WAL under the second name.
func setAside(ctx context.Context, path string) (old string, err error) {
	if _, err := os.Stat(path); err == nil {
		db := pool(path, 1, tryTimeout, "")
		err := emptyWAL(ctx, db.DB)
		if err = errors.Join(err, db.Close()); errors.Is(err, ErrInUse) || ctx.Err() != nil {
			return "", err
		}
		old = path + time.Now().UTC().Format(".before-20060102T150405.000Z")
		for _, part := range []string{"", "-wal"} {
			if err := os.Link(path+part, old+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", fmt.Errorf("keep the old database: %w", err)
			}
		}
	}
	for _, part := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return old, nil
}

// emptyWAL moves what is in the WAL into the file. Errors: ErrInUse when another program reads or
// writes.
func emptyWAL(ctx context.Context, db *sql.DB) error {
	busy, _, err := walCheckpoint(ctx, db, "TRUNCATE")
	if isBusy(err) || busy {
		return ErrInUse
	}
	return err
}

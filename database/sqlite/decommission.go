package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cartwheel/database/engine"
)

// movedName is the name of the embedded engine's file once its data was moved to a MySQL server.
const movedName = fileName + ".moved"

var (
	// ErrMoved means that a data directory's data was moved to a MySQL server.
	ErrMoved = errors.New("the data of this directory was moved to a MySQL server")
	// ErrInUse means that another program has the embedded engine's file open.
	ErrInUse = errors.New("another program has the file open")
)

// checkNotMoved refuses a directory whose data was moved: a server without its --mysql-dsn would
// open an empty shop there.
func checkNotMoved(dir string) error {
	moved := filepath.Join(dir, movedName)
	if _, err := os.Stat(moved); err != nil {
		return nil //nolint:nilerr // opening the file reports what is wrong with the directory
	}
	if _, err := os.Stat(filepath.Join(dir, fileName)); err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s (name the server with --mysql-dsn or MYSQL_DSN, or choose another --data-dir;"+
		" to go back, rename %s to %s)", ErrMoved, dir, moved, fileName)
}

// Decommission closes the embedded engine, renames its file and only then unlocks the data
// directory, so that no server starts on data that was moved. It returns the new name. No
// transaction may be running.
//
// Errors: ErrInUse when another program has the file open, and those of the file system. The file
// keeps its name then.
func Decommission(ctx context.Context, e *engine.Engine) (string, error) {
	if e.Path == "" || e.Unlock == nil {
		return "", errors.New("only a data directory that is locked can be decommissioned")
	}
	to := filepath.Join(filepath.Dir(e.Path), movedName)
	if _, err := os.Stat(to); err == nil {
		return "", errors.Join(fmt.Errorf("%s exists already, from an earlier move: remove it", to), e.Close())
	}
	// The WAL would stay behind.
	err := errors.Join(emptyWAL(ctx, e.Setup), e.CloseConnections())
	if err == nil {
		err = os.Rename(e.Path, to)
	}
	if err == nil {
		err = flush(filepath.Dir(to), os.O_RDONLY)
	}
	return to, errors.Join(err, e.Unlock())
}

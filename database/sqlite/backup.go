package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cartwheel/database/engine"
)

// ErrNotEmbedded means that something was asked of a MySQL server that only the embedded engine's
// file can give.
var ErrNotEmbedded = errors.New("this is for the embedded engine")

// Backup writes the embedded engine's data, as of one moment, into a new file, which is on disk
// when it returns. It blocks nobody. A file that is there already is not touched; whatever ends it
// early leaves none under that name.
func Backup(ctx context.Context, e *engine.Engine, to string) (err error) {
	if e.Path == "" {
		return ErrNotEmbedded
	}
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s is there already", to)
	}
	part := to + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(part) // it may never have been there
		}
	}()
	if _, err := e.Setup.ExecContext(ctx, "VACUUM INTO ?", part); err != nil {
		return fmt.Errorf("copy the data: %w", err)
	}
	// SQLite does not flush what it vacuums into.
	if err := flush(part); err != nil {
		return err
	}
	if err := os.Rename(part, to); err != nil {
		return err
	}
	return flush(filepath.Dir(to))
}

// flush writes a file, or a folder's names, to disk.
func flush(path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Sync(); err != nil && !isFolder(path) { // not every system can flush a folder
		return fmt.Errorf("flush %s: %w", path, err)
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

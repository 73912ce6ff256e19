package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"cartwheel/database/engine"
)

// ErrNotEmbedded means that a MySQL server cannot do this: only the embedded engine's file can.
var ErrNotEmbedded = errors.New("this is for the embedded engine")

// Backup writes a snapshot of the embedded engine's data into a new file, which is checked and on
// disk when it returns. It blocks no transaction. Several backups may run at once; of two to one
// name, the second fails.
//
// Errors: ErrNotEmbedded; os.ErrExist when the file is there already; those of SQLite and of the
// file system. Nothing is left under that name then.
func Backup(ctx context.Context, e *engine.Engine, to string) (err error) {
	if e.Path == "" {
		return ErrNotEmbedded
	}
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%w: %s", os.ErrExist, to)
	}
	// A folder of its own: VACUUM INTO wants a name that does not exist, and no other backup may
	// have it.
	dir, err := os.MkdirTemp(filepath.Dir(to), ".backup-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	part := filepath.Join(dir, filepath.Base(to))
	if _, err := e.Setup.ExecContext(ctx, "VACUUM INTO ?", part); err != nil {
		return fmt.Errorf("copy the data: %w", err)
	}
	// SQLite does not flush what it vacuums into.
	if err := flush(part, os.O_RDWR); err != nil {
		return err
	}
	if err := check(ctx, part, "PRAGMA quick_check(1)"); err != nil {
		return err
	}
	// Link, unlike Rename, fails when another backup was first.
	err = os.Link(part, to)
	if err != nil && !errors.Is(err, os.ErrExist) { // a file system without links
		err = os.Rename(part, to)
	}
	if err != nil {
		return err
	}
	return flush(filepath.Dir(to), os.O_RDONLY)
}

// check opens a file and asks SQLite whether it is whole. Each query must answer "ok".
func check(ctx context.Context, path string, queries ...string) (err error) {
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "mode=ro&immutable=1"}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, query := range queries {
		var result string
		if err := db.QueryRowContext(ctx, query).Scan(&result); err != nil {
			return fmt.Errorf("check %s: it is damaged: %w", path, err)
		}
		if result != "ok" {
			return fmt.Errorf("check %s: it is damaged: %s", path, result)
		}
	}
	return nil
}

// flush writes to disk a file, opened with os.O_RDWR, or a folder's names, with os.O_RDONLY.
// Windows flushes only files that are open for writing, and no folders.
func flush(path string, mode int) (err error) {
	file, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Sync(); mode == os.O_RDWR {
		return err
	}
	return nil
}

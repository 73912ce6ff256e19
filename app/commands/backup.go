package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"cartwheel/database"
)

// Backup is the command backup.
type Backup struct {
	Storage
	Output
	File string `arg:"" placeholder:"FILE" help:"The file to write, which must not be there yet; - is standard output."`
}

// onMySQL names the programs that back up and restore a MySQL database.
const onMySQL = "use mysqldump --single-transaction or mariadb-dump --single-transaction, and mysql or mariadb"

// Help is the text of --help above the flags.
func (Backup) Help() string {
	return `For the embedded engine, also while the server sells: the file holds the data as of one moment, and is on disk when this
is done. cartwheel restore puts it back. On MySQL, ` + onMySQL + "."
}

// Run writes the backup.
func (c Backup) Run(ctx context.Context, console Console) (err error) {
	if c.MySQLDSN != "" {
		return fmt.Errorf("%w: %s", database.ErrNotEmbedded, onMySQL)
	}
	started, to := time.Now(), c.File
	if c.File == "-" {
		if IsTerminal(console.Out) {
			return errors.New("standard output is a terminal: expected a file or a pipe")
		}
		dir, err := os.MkdirTemp(c.DataDir, ".backup-") // its disk has room for a database of that size
		if err != nil {
			return fmt.Errorf("--data-dir (DATA_DIR): %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		to = filepath.Join(dir, "cartwheel.db")
	}
	// Not only with tables that are up to date: a backup comes before an upgrade.
	how := database.Config{Existing: true, StartTimeout: commandPatience}
	if err := c.using(ctx, commandLog(console, slog.LevelWarn), how, func(ctx context.Context, db *database.DB) error {
		return db.Backup(ctx, to)
	}); err != nil {
		return err
	}
	file, err := os.Open(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if c.File == "-" {
		_, err = io.Copy(console.Out, file)
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size := humanize.IBytes(uint64(info.Size())) //nolint:gosec // no file has a negative size
	return c.Print(console, map[string]any{"file": c.File, "bytes": info.Size()},
		fmt.Sprintf("%s: %s in %.1f s", c.File, size, time.Since(started).Seconds()))
}

// Restore is the command restore.
type Restore struct {
	Storage
	Output
	File string `arg:"" placeholder:"FILE" help:"What cartwheel backup has written; - is standard input."`
}

// Help is the text of --help above the flags.
func (Restore) Help() string {
	return `For the embedded engine, whose server must be stopped. The backup is copied, flushed and checked before it replaces
anything; a damaged one is refused. The database that was there is kept beside it. On MySQL, ` + onMySQL + "."
}

// Run restores.
func (c Restore) Run(ctx context.Context, console Console) (err error) {
	if c.MySQLDSN != "" {
		return fmt.Errorf("%w: %s", database.ErrNotEmbedded, onMySQL)
	}
	file, closeFile, err := openInput(console, c.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	if info, err := os.Stat(c.File + "-wal"); err == nil && info.Size() > 0 {
		return fmt.Errorf("%s is a database in use, whose newest data are in %[1]s-wal: expected what cartwheel backup writes", c.File)
	}
	old, err := database.Restore(ctx, c.DataDir, file)
	if err != nil {
		return fmt.Errorf("%s is not restored: %w", c.File, err)
	}
	text := c.File + " is restored to " + c.DataDir
	if old != "" {
		text += "; what was there is " + old + ": remove it once the shop is as it should be"
	}
	return c.Print(console, map[string]string{"restored": c.File, "old": old}, text)
}

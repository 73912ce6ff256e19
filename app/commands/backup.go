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
	"cartwheel/migrations"
)

// Backup is the command backup.
type Backup struct {
	Storage
	Output
	File string `arg:"" placeholder:"FILE" help:"The file to write, which must not be there yet; - is standard output."`
}

// onMySQL says what backs up and restores a database that is not embedded.
const onMySQL = "use mysqldump --single-transaction or mariadb-dump --single-transaction, and mysql or mariadb"

// Help is what --help says beside the flags.
func (Backup) Help() string {
	return `For the embedded engine, also while the server sells: the file holds the data as of one moment, and is on disk when this
is done. cartwheel restore puts it back. On MySQL, ` + onMySQL + "."
}

// Run writes the backup.
func (c Backup) Run(ctx context.Context, console Console) error {
	if c.File == "-" {
		return c.stream(ctx, console)
	}
	// Not only with tables that are up to date: a backup comes before an upgrade.
	how := database.Config{Existing: true, StartTimeout: commandPatience}
	return c.using(ctx, commandLog(console, slog.LevelWarn), how, func(ctx context.Context, db *database.DB) error {
		started := time.Now()
		err := db.Backup(ctx, c.File)
		switch {
		case errors.Is(err, database.ErrNotEmbedded):
			return fmt.Errorf("%w: %s", err, onMySQL)
		case err != nil:
			return err
		}
		info, err := os.Stat(c.File)
		if err != nil {
			return err
		}
		return c.Print(console, map[string]any{"file": c.File, "bytes": info.Size()}, fmt.Sprintf("%s: %s in %.1f s",
			c.File, humanize.IBytes(uint64(info.Size())), time.Since(started).Seconds()))
	})
}

// stream writes the backup to standard output. Until it is complete it is in the data directory,
// whose disk has room for a database of that size.
func (c Backup) stream(ctx context.Context, console Console) (err error) {
	if IsTerminal(console.Out) {
		return errors.New("standard output is a terminal: expected a file or a pipe")
	}
	dir := c.DataDir
	if c.MySQLDSN != "" {
		dir = "" // it fails, and names what to use
	}
	if dir, err = os.MkdirTemp(dir, ".backup-"); err != nil {
		return fmt.Errorf("--data-dir (DATA_DIR): %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	toFile := c
	toFile.File = filepath.Join(dir, "cartwheel.db")
	if err := toFile.Run(ctx, Console{Out: io.Discard, Err: console.Err}); err != nil {
		return err
	}
	file, err := os.Open(toFile.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = io.Copy(console.Out, file)
	return err
}

// Restore is the command restore.
type Restore struct {
	Storage
	Output
	File string `arg:"" placeholder:"FILE" help:"What cartwheel backup has written; - is standard input."`
}

// Help is what --help says beside the flags.
func (Restore) Help() string {
	return `For the embedded engine, whose server must be stopped. The backup is copied, flushed and checked before it replaces
anything; a damaged one is refused. The database that was there is kept beside it. On MySQL, ` + onMySQL + "."
}

// Run restores.
func (c Restore) Run(ctx context.Context, console Console) (err error) {
	if c.MySQLDSN != "" {
		return fmt.Errorf("%w: %s", database.ErrNotEmbedded, onMySQL)
	}
	file, _, err := openInput(console, c.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if info, err := os.Stat(c.File + "-wal"); err == nil && info.Size() > 0 {
		return fmt.Errorf("%s is a database in use, whose newest data are in %[1]s-wal: expected what cartwheel backup writes", c.File)
	}
	log := commandLog(console, slog.LevelWarn)
	old, err := database.Restore(ctx, c.DataDir, file, log, func(db *database.DB) error {
		states, err := migrations.Status(ctx, db)
		if err == nil && (len(states) == 0 || states[0].Pending()) {
			err = errors.New("it has none of Cartwheel's tables")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s is not restored: %w", c.File, err)
	}
	text := c.File + " is restored to " + c.DataDir
	if old != "" {
		text += "; what was there is " + old + ": remove it once the shop is as it should be"
	}
	return c.Print(console, map[string]string{"restored": c.File, "old": old}, text)
}

package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/dustin/go-humanize"

	"cartwheel/database"
)

// Backup is the command backup.
type Backup struct {
	Storage
	File string `arg:"" placeholder:"FILE" help:"The file to write, which must not be there yet."`
}

// Help is what --help says beside the flags.
func (Backup) Help() string {
	return `For the embedded engine, also while the server sells: the file holds the data as of one moment, and is on disk when this
is done. To restore it, stop the server, put the file in the place of cartwheel.db, and take cartwheel.db-wal and
cartwheel.db-shm away. On MySQL, use mysqldump --single-transaction or mariadb-dump --single-transaction.`
}

// Run writes the backup.
func (c Backup) Run(ctx context.Context, console Console) error {
	// Not only with tables that are up to date: a backup comes before an upgrade.
	how := database.Config{Existing: true, StartTimeout: commandPatience}
	return c.using(ctx, commandLog(console, slog.LevelWarn), how, func(ctx context.Context, db *database.DB) error {
		started := time.Now()
		err := db.Backup(ctx, c.File)
		switch {
		case errors.Is(err, database.ErrNotEmbedded):
			return fmt.Errorf("%w: back %s up with mysqldump --single-transaction or mariadb-dump --single-transaction",
				err, db.Engine())
		case err != nil:
			return err
		}
		info, err := os.Stat(c.File)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(console.Out, "%s: %s in %.1f s\n",
			c.File, humanize.IBytes(uint64(info.Size())), time.Since(started).Seconds())
		return err
	})
}

package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"cartwheel/database"
	"cartwheel/migrations"
)

type migrateMoveCommand struct{ Storage }

// Help is what --help says beside the flags.
func (migrateMoveCommand) Help() string {
	return `Stop the server on --data-dir first. Everything goes, checkouts that are not settled included, in one transaction:
the database has all of it or nothing, whatever happens on the way, and the command can be run again. What was
written is read back and compared. Then cartwheel.db is renamed to cartwheel.db.moved, so that no server sells the
same stock from it again. A stock import that runs meanwhile stops, and says which lines it did not take.`
}

// Run moves.
func (c migrateMoveCommand) Run(ctx context.Context, console Console) error {
	if c.MySQLDSN == "" {
		return errors.New("--mysql-dsn (or MYSQL_DSN) is missing: it names the database to move to")
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	log := commandLog(console, slog.LevelWarn)
	source, err := Storage{DataDir: c.DataDir}.Open(ctx, log, database.Config{Serve: true, Existing: true})
	if err != nil {
		return err
	}
	open := true
	defer func() {
		if open {
			_ = source.Close() // it was not written to
		}
	}()
	started := time.Now()
	report, place, err := c.copy(ctx, console, source, log)
	if err != nil {
		return err
	}
	open = false
	moved, err := source.Decommission(ctx)
	if err != nil {
		return fmt.Errorf("everything is in %s, but %s could not be renamed: %w (nobody can use it any more; run this again to end the move)",
			place, source.Engine(), err)
	}
	return c.print(console.Out, report, place, moved, time.Since(started))
}

// copy copies, and returns where to.
func (c migrateMoveCommand) copy(ctx context.Context, console Console, source *database.DB, log *slog.Logger) (report migrations.CopyReport, place string, err error) {
	if _, err := migrations.Up(ctx, source, log); err != nil {
		return report, "", fmt.Errorf("bring the tables up to date: %w", err)
	}
	err = Storage{MySQLDSN: c.MySQLDSN}.using(ctx, log, database.Config{StartTimeout: commandPatience}, func(target *database.DB) error {
		place = target.Engine()
		if err := c.prepare(ctx, target, log); err != nil {
			return err
		}
		bar := newCopyBar(console.Err)
		report, err = migrations.Copy(ctx, source, target, bar.show)
		bar.finish()
		return err
	})
	return report, place, err
}

// prepare brings an empty target's tables up to date. One that holds rows must be ours already,
// from a run whose end was not seen: another system's are not to be touched.
func (c migrateMoveCommand) prepare(ctx context.Context, target *database.DB, log *slog.Logger) error {
	occupied, err := migrations.Occupied(ctx, target)
	if err != nil {
		return err
	}
	if len(occupied) > 0 {
		states, err := migrations.Status(ctx, target)
		if err != nil {
			return err
		}
		for _, state := range states {
			if state.Pending() {
				return fmt.Errorf("%w: %s has rows in %s (name a database that does not exist yet; it is created)",
					migrations.ErrOccupied, target.Engine(), strings.Join(occupied, ", "))
			}
		}
		return nil
	}
	if _, err := migrations.Up(ctx, target, log); err != nil {
		return fmt.Errorf("create the tables: %w", err)
	}
	return nil
}

func (c migrateMoveCommand) print(w io.Writer, report migrations.CopyReport, place, moved string, took time.Duration) error {
	out := newTable(w, "TABLE", "ROWS")
	for _, t := range report.Tables {
		if err := out.add(nil, t.Name, humanize.Comma(t.Rows)); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	did := "copied and compared"
	if report.AlreadyThere {
		did = "had been copied by an earlier run, and compared"
	}
	fmt.Fprintf(w, "%s rows %s, to %s; %.1f s\n", humanize.Comma(report.Rows()), did, place, took.Seconds())
	fmt.Fprintf(w, "the embedded engine's file is %s now\n", moved)
	_, err := fmt.Fprintln(w, "from now on, start the server with --mysql-dsn or MYSQL_DSN")
	return err
}

// A copyBar shows a copy's progress, on a terminal alone.
type copyBar struct {
	w        io.Writer
	progress *progressbar.ProgressBar
}

func newCopyBar(w io.Writer) *copyBar { return &copyBar{w: w} }

func (b *copyBar) show(done, all int64) {
	if b.progress == nil {
		if !IsTerminal(b.w) {
			return
		}
		b.progress = progressbar.NewOptions64(all,
			progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	if done*2 <= all {
		b.progress.Describe("copying")
	} else {
		b.progress.Describe("comparing")
	}
	_ = b.progress.Set64(done) // only looks
}

func (b *copyBar) finish() {
	if b.progress != nil {
		_ = b.progress.Clear() // only looks
	}
}

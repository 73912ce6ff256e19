package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"cartwheel/database"
	"cartwheel/migrations"
)

type migrateMoveCommand struct {
	Storage
	Output
}

// Help is the text of --help above the flags.
func (migrateMoveCommand) Help() string {
	return `Stop the server on --data-dir first. Everything goes, checkouts that are not settled included, in one transaction:
the database has all of it or nothing, whatever happens on the way, and the command can be run again. What was
written is read back and compared. Then cartwheel.db is renamed to cartwheel.db.moved, so that no server sells the
same stock from it again. A stock import that runs at the same time stops, and says which lines it did not take.`
}

// Run moves.
func (c migrateMoveCommand) Run(ctx context.Context, console Console) error {
	if c.MySQLDSN == "" {
		return errors.New("--mysql-dsn (or MYSQL_DSN) is missing: it names the database to move to")
	}
	log := commandLog(console, slog.LevelWarn)
	from, to := Storage{DataDir: c.DataDir}, Storage{MySQLDSN: c.MySQLDSN}
	ours, theirs := database.Config{LockDataDir: true, Existing: true}, database.Config{StartTimeout: commandPatience}
	err := from.using(ctx, log, ours, func(ctx context.Context, source *database.DB) error {
		return to.using(ctx, log, theirs, func(ctx context.Context, target *database.DB) error {
			return c.move(ctx, console, source, target, log)
		})
	})
	if !errors.Is(err, database.ErrMoved) {
		return err
	}
	// A repeat. What was sold since is in the target: it can no longer be compared.
	return to.reading(ctx, console, func(ctx context.Context, target *database.DB) error {
		if occupied, err := migrations.Occupied(ctx, target); err != nil || len(occupied) == 0 {
			return errors.Join(fmt.Errorf("%w, but not to %s, which is empty", database.ErrMoved, target.Engine()), err)
		}
		return c.Print(console, migrations.CopyReport{AlreadyThere: true},
			"nothing is left to move: an earlier run has ended, and "+target.Engine()+" has rows")
	})
}

func (c migrateMoveCommand) move(
	ctx context.Context, console Console, source, target *database.DB, log *slog.Logger,
) error {
	started := time.Now()
	if _, err := migrations.Up(ctx, source, log); err != nil {
		return fmt.Errorf("bring the tables up to date: %w", err)
	}
	if err := prepareTarget(ctx, target, log); err != nil {
		return err
	}
	bar := newBar(console.Err, 1, "copying and comparing")
	report, err := migrations.Copy(ctx, source, target, func(done, all int64) {
		bar.ChangeMax64(all)
		_ = bar.Set64(done) // cosmetic
	})
	_ = bar.Finish() // cosmetic
	if err != nil {
		return err
	}
	moved, err := source.Decommission(ctx)
	if err != nil {
		return fmt.Errorf("everything is in %s, but %s could not be renamed: %w"+
			" (nobody can use it any more; run this again to end the move)", target.Engine(), source.Engine(), err)
	}
	did := "copied and compared"
	if report.AlreadyThere {
		did = "had been copied by an earlier run, and compared"
	}
	return c.Print(console, report, fmt.Sprintf("%s rows %s, to %s; %.1f s\nthe embedded engine's file is %s now\n"+
		"from now on, start the server with --mysql-dsn or MYSQL_DSN",
		humanize.Comma(report.Rows()), did, target.Engine(), time.Since(started).Seconds(), moved))
}

// prepareTarget brings an empty target's tables up to date. One that holds rows must be ours
// already, from a run whose end was not seen: another system's are not to be touched.
func prepareTarget(ctx context.Context, target *database.DB, log *slog.Logger) error {
	if pending, err := migrations.Pending(ctx, target); err != nil || len(pending) == 0 {
		return err
	}
	occupied, err := migrations.Occupied(ctx, target)
	if err != nil {
		return err
	}
	if len(occupied) > 0 {
		return fmt.Errorf("%w: %s has rows in %s (name a database that does not exist yet; it is created)",
			migrations.ErrOccupied, target.Engine(), strings.Join(occupied, ", "))
	}
	if _, err := migrations.Up(ctx, target, log); err != nil {
		return fmt.Errorf("create the tables: %w", err)
	}
	return nil
}

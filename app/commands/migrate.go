package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cartwheel/database"
	"cartwheel/migrations"
)

// Migrate is the command group migrate.
type Migrate struct {
	Up     migrateUpCommand     `cmd:"" help:"Apply the migrations that the database does not have."`
	Status migrateStatusCommand `cmd:"" help:"List the migrations, and which of them the database has."`
	Move   migrateMoveCommand   `cmd:"" help:"Move everything from the embedded engine to an empty MySQL database."`
}

type migrateUpCommand struct {
	Storage
	Output
}

// Run migrates.
func (c migrateUpCommand) Run(ctx context.Context, console Console) error {
	return c.writing(ctx, console, c, database.Config{})
}

func (c migrateUpCommand) runOn(ctx context.Context, console Console, db *database.DB) error {
	// What becomes of an old system's rows is worth reading.
	applied, err := migrations.Up(ctx, db, commandLog(console, slog.LevelInfo))
	if err != nil {
		return err
	}
	return c.Print(console, map[string]int{"applied": applied},
		fmt.Sprintf("%s: %d applied, up to date", db.Engine(), applied))
}

type migrateStatusCommand struct {
	Storage
	Output
}

// Run lists the migrations.
func (c migrateStatusCommand) Run(ctx context.Context, console Console) error {
	log, how := commandLog(console, slog.LevelWarn), database.Config{Existing: true}
	return c.using(ctx, log, how, func(ctx context.Context, db *database.DB) error {
		states, err := migrations.Status(ctx, db)
		if err != nil {
			return err
		}
		out := newListing(console.Out, c.JSON, "MIGRATION", "APPLIED AT (UTC)")
		for _, s := range states {
			at := "pending"
			if s.AppliedAt != nil {
				at = s.AppliedAt.Format(time.DateTime)
			}
			err = errors.Join(err, out.add(s, s.Name, at))
		}
		return out.end(err)
	})
}

package migrations

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
)

// AdoptionSteps is how many steps adopting has.
func AdoptionSteps() int { return len(adoptionSteps()) }

// AdoptInPart runs the first steps of adopting, as a run does that ends there in a crash.
func AdoptInPart(ctx context.Context, db *sql.DB, steps int, log *slog.Logger) error {
	for _, step := range adoptionSteps()[:steps] {
		if err := step.run(ctx, db, log); err != nil {
			return err
		}
	}
	return nil
}

// Adopt runs the migration that adopts, in a transaction as goose does.
func Adopt(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	return errors.Join(adoptWith(log)(ctx, tx), tx.Commit())
}

// FirstTables is the migration that creates the MySQL engine's tables.
func FirstTables() string {
	text, err := files.ReadFile("mysql/00001_tables.sql")
	if err != nil {
		panic(err)
	}
	return string(text)
}

// CopiedColumns returns the columns that Copy copies, by table.
func CopiedColumns() map[string][]string {
	columns := map[string][]string{}
	for _, t := range copiedTables() {
		for _, c := range t.columns {
			columns[t.name] = append(columns[t.name], c.name)
		}
	}
	return columns
}

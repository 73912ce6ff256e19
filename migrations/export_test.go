package migrations

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"

	"github.com/jmoiron/sqlx"
)

// errCrash is what a crashing session answers.
var errCrash = errors.New("crashed")

// A crashing session fails after some statements that change something.
type crashing struct {
	session
	left int
}

func (c *crashing) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if c.left--; c.left < 0 {
		return nil, errCrash
	}
	return c.session.ExecContext(ctx, query, args...)
}

// A shared session is one beside which another instance does something, before a certain read.
type shared struct {
	session
	left int
	do   func()
}

func (s *shared) SelectContext(ctx context.Context, into any, query string, args ...any) error {
	if s.left--; s.left == 0 {
		s.do()
	}
	return s.session.SelectContext(ctx, into, query, args...)
}

// CheckAdoptableBeside looks for obstacles while another instance does something, before the n-th
// read.
func CheckAdoptableBeside(ctx context.Context, db *sql.DB, n int, do func()) error {
	return checkAdoptable(ctx, serverCatalogue(&shared{sqlx.NewDb(db, "mysql"), n, do}))
}

// AdoptInPart adopts until it has changed something so many times, as a run does that ends there in
// a crash. It reports whether it came to its end.
func AdoptInPart(ctx context.Context, db *sql.DB, changes int, log *slog.Logger) (ended bool, err error) {
	r := repairer{serverCatalogue(&crashing{sqlx.NewDb(db, "mysql"), changes}), log}
	if err = r.adopt(ctx); errors.Is(err, errCrash) {
		return false, nil
	}
	return true, err
}

// Adopt runs the migration that adopts, in a transaction as goose does.
func Adopt(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	return errors.Join(repairer{serverCatalogue(inTransaction(tx)), log}.adopt(ctx), tx.Commit())
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

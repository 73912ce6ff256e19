// Package migrations owns the shape of Cartwheel's tables: it creates them on either engine, and
// adopts a database of the system that Cartwheel replaces. The server and `cartwheel migrate` call
// it.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"cartwheel/database"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed mysql/*.sql sqlite/*.sql
var files embed.FS

// serverMigrations are the migrations of MySQL servers that are written in Go: they look first
// whether there is anything to do.
var serverMigrations = map[int64]struct {
	name string
	run  func(repairer, context.Context) error
}{
	adoption: {"00002_adopt_old_tables", repairer.adopt},
	3:        {"00003_guards_and_indexes", repairer.reshapeOwn},
	4:        {"00004_storefront", repairer.reshapeOwn},
}

// adoption is the version of the migration that adopts.
const adoption = 2

const (
	// lockLease is how long the migrations' lock outlives a holder that was killed.
	lockLease = 10 * time.Second
	// lockInterval is the time between two attempts to get the lock.
	lockInterval = time.Second
	// lockAttempts is the maximum number of attempts: adopting a large database takes minutes.
	lockAttempts = 600
	// maxRejected is the maximum number of attempts that another instance's writes may reject.
	// Instances that start through different nodes create the lock's table at the same time.
	maxRejected = 10
)

// State is one migration and whether the database has it.
type State struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`
	AppliedAt *time.Time `json:"appliedAt"` // in UTC; nil while it is pending
}

// Up applies the pending migrations and returns their number. It blocks until they are applied, or
// until ctx ends; while another instance applies them it waits for that one, ten minutes at most. A
// repeat is harmless, also after a crash in the middle; with nothing pending it takes no lock and
// writes nothing. Each call then verifies the tables.
//
// Errors: ErrChanged when they are not as the migrations left them; ErrNotAdopted when the database
// holds tables of the same names that cannot be made ours as they are (nothing was changed); else
// the errors of goose and of the engine, also when another instance did not finish in time.
func Up(ctx context.Context, db *database.DB, log *slog.Logger) (applied int, err error) {
	for attempt := 1; ; attempt++ {
		n, err := upAndVerify(ctx, db, log)
		applied += n
		if !database.IsConflict(err) || attempt == maxRejected {
			return applied, err
		}
		log.InfoContext(ctx, "migrating again: another instance wrote at the same time", "error", err)
	}
}

// upAndVerify is one attempt of Up. A cluster may end any of its statements, those that read too,
// for an ALTER on another node.
func upAndVerify(ctx context.Context, db *database.DB, log *slog.Logger) (applied int, err error) {
	pending, err := Pending(ctx, db)
	if err != nil {
		return 0, err
	}
	if !db.Embedded() && slices.Contains(pending, serverMigrations[adoption].name) {
		// Before anything is written, the table of versions included. The migration checks again,
		// under the lock.
		if err := checkAdoptable(ctx, catalogueOf(db)); err != nil {
			return 0, err
		}
	}
	if len(pending) > 0 {
		applied, err = up(ctx, db, log)
	}
	if err == nil {
		return applied, Verify(ctx, db)
	}
	// On the embedded engine two processes may apply the same migration: one transaction commits,
	// the other fails whole. Up retries as long as there is progress.
	if left, statusErr := Pending(ctx, db); db.Embedded() && statusErr == nil && len(left) < len(pending) {
		err = fmt.Errorf("%w: %w", database.ErrRetry, err)
	}
	return applied, err
}

// Status returns all migrations in their order, and which of them the database has. It writes
// nothing, and does not wait for an instance that is migrating.
func Status(ctx context.Context, db *database.DB) ([]State, error) {
	goosed, err := provider(db, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	applied := newVersions(db)
	begun, err := applied.TableExists(ctx, db.Setup())
	var states []State
	for _, source := range goosed.ListSources() {
		s := State{Version: source.Version, Name: nameOf(source)}
		if begun && err == nil {
			s.AppliedAt, err = applied.appliedAt(ctx, db.Setup(), s.Version)
		}
		states = append(states, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read which migrations are applied: %w", err)
	}
	return states, nil
}

// Pending returns the names of the migrations that the database does not have yet. Like Status it
// writes nothing.
func Pending(ctx context.Context, db *database.DB) (names []string, err error) {
	states, err := Status(ctx, db)
	for _, s := range states {
		if s.AppliedAt == nil {
			names = append(names, s.Name)
		}
	}
	return names, err
}

// up applies the pending migrations, under the lock where the engine has one.
func up(ctx context.Context, db *database.DB, log *slog.Logger) (int, error) {
	goosed, err := provider(db, log)
	if err != nil {
		return 0, err
	}
	results, err := goosed.Up(ctx)
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		results = partial.Applied
		err = fmt.Errorf("migration %s: %w", nameOf(partial.Failed.Source), partial.Err)
	}
	for _, result := range results {
		log.InfoContext(ctx, "migrated the database",
			"migration", nameOf(result.Source), "took", result.Duration.Round(time.Millisecond))
	}
	if err != nil {
		return len(results), fmt.Errorf("migrate the database: %w", err)
	}
	return len(results), nil
}

// provider returns goose, set up for the engine.
func provider(db *database.DB, log *slog.Logger) (*goose.Provider, error) {
	folder, _ := fs.Sub(files, db.Dialect().Name()) // a valid path
	options := []goose.ProviderOption{
		goose.WithStore(newVersions(db)),
		goose.WithDisableGlobalRegistry(true),
		goose.WithSlog(log),
	}
	if !db.Embedded() { // where a transaction has all of a migration
		locker, err := newLocker(log)
		if err != nil {
			return nil, fmt.Errorf("set the migrations' lock up: %w", err)
		}
		options = append(options, goose.WithLocker(locker))
		for version, m := range serverMigrations {
			run := func(ctx context.Context, tx *sql.Tx) error {
				return m.run(repairer{serverCatalogue(inTransaction(tx)), log}, ctx)
			}
			migration := goose.NewGoMigration(version, &goose.GoFunc{RunTx: run}, nil)
			options = append(options, goose.WithGoMigrations(migration))
		}
	}
	goosed, err := goose.NewProvider(goose.DialectCustom, db.Setup(), folder, options...)
	if err != nil {
		return nil, fmt.Errorf("set goose up: %w", err)
	}
	return goosed, nil
}

// newLocker makes instances migrate one after the other, also on different servers of a cluster, by
// a row of the table goose_lock. The row has a lease on the database's clock: when a holder is
// killed, the next one goes on after lockLease.
func newLocker(log *slog.Logger) (lock.Locker, error) {
	return lock.NewMySQLTableLocker(
		lock.WithTableLeaseDuration(lockLease),
		lock.WithTableHeartbeatInterval(lockLease/5),
		lock.WithTableLockTimeout(lockInterval, lockAttempts),
		lock.WithTableLogger(slog.New(slog.DiscardHandler)), // it returns its errors as well
		lock.WithTableRetryPolicy(func(err error) bool {
			log.Info("waiting for another instance to migrate the database", "error", err)
			return true
		}))
}

// nameOf returns the name of a migration for people.
func nameOf(source *goose.Source) string {
	if source.Type == goose.TypeSQL {
		return strings.TrimSuffix(path.Base(source.Path), ".sql")
	}
	return serverMigrations[source.Version].name
}

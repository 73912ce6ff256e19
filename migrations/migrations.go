// Package migrations owns the shape of Cartwheel's tables: it creates them on either engine, and
// adopts a database of the system that Cartwheel replaces. The server and `cartwheel migrate` call
// it.
package migrations

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"cartwheel/database"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed mysql/*.sql sqlite/*.sql
var files embed.FS

// The versions of the migrations that are written in Go (MySQL engine only): statements that must
// look first whether there is anything to do.
const (
	adoption   = 2
	guards     = 3
	storefront = 4
)

const (
	// lockLease is how long the migrations' lock outlives a holder that was killed.
	lockLease = 10 * time.Second
	// lockInterval is the time between two attempts to get the lock.
	lockInterval = time.Second
	// lockAttempts is the maximum number of attempts: adopting a large database takes minutes.
	lockAttempts = 600
)

// State is one migration and whether the database has it.
type State struct {
	Version int64
	Name    string
	// AppliedAt is when it was applied, in UTC; zero while it is pending.
	AppliedAt time.Time
}

// Pending reports whether the migration is still to be applied.
func (s State) Pending() bool { return s.AppliedAt.IsZero() }

// Up applies what is pending and returns how many migrations that were. It blocks until they are
// applied, or until ctx ends; while another instance applies them it waits for that one, ten
// minutes at most. A repeat is harmless, also after a crash in the middle; with nothing pending it
// takes no lock and writes nothing. Each call then verifies the tables.
//
// Errors: ErrChanged when they are not as the migrations left them; ErrNotAdopted when the database
// holds tables of the same names that cannot be made ours as they are (nothing was changed); else
// what goose or the engine said, also when another instance did not finish in time.
func Up(ctx context.Context, db *database.DB, log *slog.Logger) (applied int, err error) {
	states, err := Status(ctx, db)
	if err != nil {
		return 0, err
	}
	for left := pending(states); left > 0; {
		n, err := up(ctx, db, states, log)
		applied += n
		if err == nil {
			break
		}
		// On the embedded engine two processes may apply the same migration: one transaction
		// commits, the other fails whole. That is no error as long as it means progress.
		states, statusErr := Status(ctx, db)
		if !db.Embedded() || statusErr != nil || pending(states) >= left {
			return applied, err
		}
		left = pending(states)
	}
	return applied, Verify(ctx, db)
}

// Status returns all migrations in their order, and which of them the database has. It writes
// nothing, and does not wait for an instance that is migrating.
func Status(ctx context.Context, db *database.DB) ([]State, error) {
	versions, err := newVersions(db)
	if err != nil {
		return nil, err
	}
	at, err := versions.applied(ctx, db.Setup())
	if err != nil {
		return nil, fmt.Errorf("read which migrations are applied: %w", err)
	}
	goosed, err := provider(db, versions, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	var states []State
	for _, source := range goosed.ListSources() {
		states = append(states, State{Version: source.Version, Name: nameOf(source), AppliedAt: at[source.Version]})
	}
	return states, nil
}

func pending(states []State) int {
	n := 0
	for _, s := range states {
		if s.Pending() {
			n++
		}
	}
	return n
}

// up applies what is pending, under the lock where the engine has one to take.
func up(ctx context.Context, db *database.DB, states []State, log *slog.Logger) (int, error) {
	versions, err := newVersions(db)
	if err != nil {
		return 0, err
	}
	for _, s := range states {
		if s.Version == adoption && s.Pending() && !db.Embedded() {
			// Before anything is written, the table of versions included. The migration checks
			// again, under the lock.
			if err := checkAdoptable(ctx, db.Setup()); err != nil {
				return 0, err
			}
		}
	}
	locker, err := lockerFor(db, log)
	if err != nil {
		return 0, err
	}
	goosed, err := provider(db, versions, locker, log)
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
		log.InfoContext(ctx, "migrated the database", "migration", nameOf(result.Source), "took", result.Duration.Round(time.Millisecond))
	}
	if err != nil {
		return len(results), fmt.Errorf("migrate the database: %w", err)
	}
	return len(results), nil
}

// lockerFor makes instances migrate one after the other, also on different servers of a cluster, by
// a row of the table goose_lock. The row has a lease on the database's clock: when a holder is
// killed, the next one goes on after lockLease. On the embedded engine it returns nil: a
// transaction has all of a migration.
func lockerFor(db *database.DB, log *slog.Logger) (goose.ProviderOption, error) {
	if db.Embedded() {
		return nil, nil
	}
	locker, err := lock.NewMySQLTableLocker(
		lock.WithTableLeaseDuration(lockLease),
		lock.WithTableHeartbeatInterval(lockLease/5),
		lock.WithTableLockTimeout(lockInterval, lockAttempts),
		lock.WithTableLogger(slog.New(slog.DiscardHandler)), // it returns its errors as well
		lock.WithTableRetryPolicy(func(err error) bool {
			log.Info("waiting for another instance to migrate the database", "error", err)
			return true
		}))
	if err != nil {
		return nil, fmt.Errorf("set the migrations' lock up: %w", err)
	}
	return goose.WithLocker(locker), nil
}

// provider returns goose, set up for the engine.
func provider(db *database.DB, versions *versions, locker goose.ProviderOption, log *slog.Logger) (*goose.Provider, error) {
	folder, err := fs.Sub(files, db.Dialect().Name())
	if err != nil {
		return nil, fmt.Errorf("migrations of %s: %w", db.Dialect().Name(), err)
	}
	options := []goose.ProviderOption{
		goose.WithStore(versions),
		goose.WithDisableGlobalRegistry(true),
		goose.WithSlog(log),
	}
	if locker != nil {
		options = append(options, locker)
	}
	if !db.Embedded() {
		options = append(options, goose.WithGoMigrations(
			goose.NewGoMigration(adoption, &goose.GoFunc{RunTx: adoptWith(log)}, nil),
			goose.NewGoMigration(guards, &goose.GoFunc{RunTx: addGuardsWith(log)}, nil),
			goose.NewGoMigration(storefront, &goose.GoFunc{RunTx: addStorefrontWith(log)}, nil)))
	}
	goosed, err := goose.NewProvider(goose.DialectCustom, db.Setup(), folder, options...)
	if err != nil {
		return nil, fmt.Errorf("set goose up: %w", err)
	}
	return goosed, nil
}

// nameOf is what people know a migration by.
func nameOf(source *goose.Source) string {
	if source.Type == goose.TypeSQL {
		return trimExtension(source.Path)
	}
	return map[int64]string{adoption: "00002_adopt_old_tables", guards: "00003_guards_and_indexes", storefront: "00004_storefront"}[source.Version]
}

// Package databasetest gives each test a migrated database of its own and removes it afterwards.
// Server engines run on a private MariaDB and a private MySQL, one of each for a test binary, or on
// the servers that TEST_MARIADB_DSN and TEST_MYSQL_DSN name. Only tests import it.
package databasetest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/migrations"

	"go.uber.org/goleak"
)

// setupTimeout is the maximum time to open and migrate one test's database.
const setupTimeout = 2 * time.Minute

// Each runs a test on all engines, one after the other, as the subtests "embedded", "mariadb" and
// "mysql".
func Each(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, Embedded(t)) })
	EachServer(t, test)
}

// EachServer runs a test on the server engines, one after the other, as the subtests "mariadb" and
// "mysql".
func EachServer(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	EachServerDSN(t, func(t *testing.T, dsn string) { test(t, Open(t, database.Config{MySQLDSN: dsn})) })
}

// EachServerDSN is EachServer with the DSN of a database that does not exist yet, as ServerDSN
// returns it.
func EachServerDSN(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Helper()
	EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) { test(t, ServerDSN(t, flavour)) })
}

// EachFlavour is EachServer for a test that needs several databases of one server.
func EachFlavour(t *testing.T, test func(t *testing.T, flavour dbserver.Flavour)) {
	t.Helper()
	for _, flavour := range dbserver.Flavours() {
		t.Run(string(flavour), func(t *testing.T) { test(t, flavour) })
	}
}

// SkipUnlessCI skips a test that this machine cannot run, for a reason. In CI that is a failure.
func SkipUnlessCI(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// Embedded returns an embedded engine of the test's own, migrated, with its data directory's lock,
// as a server has it.
func Embedded(t testing.TB) *database.DB {
	t.Helper()
	return Open(t, database.Config{DataDir: t.TempDir(), LockDataDir: true})
}

// ServerDSN returns the DSN of a database that does not exist yet. Whatever the test creates under
// that name is dropped after it. Without an installed server the test is skipped, or fails where CI
// is set.
func ServerDSN(t testing.TB, flavour dbserver.Flavour) string {
	t.Helper()
	return freshDatabase(t, shared[flavour].dsn(t))
}

// Open opens and migrates what cfg names, and closes it after the test. Its log is the test's.
func Open(t testing.TB, cfg database.Config) *database.DB {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = Log(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), setupTimeout)
	defer cancel()
	db, err := database.Open(ctx, cfg)
	if err != nil {
		t.Fatalf("open the test's database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil && db.Embedded() {
			// A MySQL server may be gone by now: then closing fails, and that is fine.
			t.Errorf("close the test's database: %v", err)
		}
	})
	if _, err := migrations.Up(ctx, db, cfg.Log); err != nil {
		t.Fatalf("migrate the test's database: %v", err)
	}
	return db
}

// Log returns a logger that writes to the test's output, which shows when it fails or with -v.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Main runs a package's tests, stops the private servers after them, and returns the status for
// os.Exit. When all tests passed and goroutines are left, it names them and returns 1. A package
// without TestMain is fine too: its servers end with the test binary. except names goroutines that
// libraries leave behind.
func Main(m *testing.M, except ...goleak.Option) int {
	code := m.Run()
	for _, server := range shared {
		server.stop()
	}
	if code != 0 {
		return code
	}
	if err := goleak.Find(except...); err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left behind:", err)
		return 1
	}
	return 0
}

// uniqueName makes a database name of the test's name and something random.
func uniqueName(t testing.TB) string {
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails
	name := strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '_'
	}, strings.ToLower(t.Name()))
	const maxName = 40 // a database's name may have 64 characters
	if len(name) > maxName {
		name = name[len(name)-maxName:]
	}
	return "t_" + hex.EncodeToString(random[:]) + "_" + name
}

// Send runs what fill adds to a batch.
func Send(ctx context.Context, tx *database.Tx, fill func(b *database.Batch)) error {
	b := tx.Batch()
	fill(b)
	return b.Send(ctx)
}

// Package databasetest gives tests databases to work on: migrated, one for each test, gone afterwards. The MySQL
// engine runs on a private throw-away mariadbd, one for a test binary, or on the server that TEST_MYSQL_DSN names. A second
// such mariadbd stands for MySQL 8, where a test asks for it.
// Only tests import it.
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
	"cartwheel/migrations"

	"go.uber.org/goleak"
)

// setupTimeout bounds opening and migrating one test's database.
const setupTimeout = time.Minute

// Each runs a test on both engines, one after the other, as the subtests "embedded" and "mysql".
func Each(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("mysql", func(t *testing.T) { test(t, MySQL(t)) })
}

// EachAndMySQL8 is Each, and runs the test on AsMySQL8 besides: as the subtest "mysql, as version 8".
func EachAndMySQL8(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	Each(t, test)
	t.Run("mysql, as version 8", func(t *testing.T) { test(t, AsMySQL8(t)) })
}

// Embedded returns an embedded engine of the test's own, migrated, holding its data directory's lock as a server does.
func Embedded(t testing.TB) *database.DB {
	t.Helper()
	return Open(t, database.Config{DataDir: t.TempDir(), Serve: true})
}

// MySQL returns a database of the test's own on the MySQL-protocol server, migrated. Without a server the test is
// skipped, or fails where CI is set.
func MySQL(t testing.TB) *database.DB {
	t.Helper()
	return Open(t, database.Config{MySQLDSN: MySQLDSN(t)})
}

// MySQLDSN returns the DSN of a database that does not exist yet. Whatever the test creates under that name is
// dropped after it. Without a server the test is skipped, or fails where CI is set.
func MySQLDSN(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv("TEST_MYSQL_DSN"); dsn != "" {
		return freshDatabase(t, dsn)
	}
	return freshDatabase(t, shared.dsn(t))
}

// AsMySQL8 returns a database of the test's own, migrated, on a server that is sent what MySQL 8 would be sent. It is a private
// MariaDB that calls itself MySQL, so it shows that these statements do what they should, not that MySQL takes them.
func AsMySQL8(t testing.TB) *database.DB {
	t.Helper()
	return Open(t, database.Config{MySQLDSN: AsMySQL8DSN(t)})
}

// AsMySQL8DSN is MySQLDSN on such a server.
func AsMySQL8DSN(t testing.TB) string {
	t.Helper()
	return freshDatabase(t, sharedAsMySQL8.dsn(t))
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

// Main runs a package's tests and stops the private server after them; os.Exit takes its result. When all tests
// passed and goroutines are left behind, it says which and returns 1. A package without TestMain is fine too: its
// server dies with the test binary, however that ends. except names goroutines that others' code leaves behind.
func Main(m *testing.M, except ...goleak.Option) int {
	code := m.Run()
	shared.stop()
	sharedAsMySQL8.stop()
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

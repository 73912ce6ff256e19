package migrations_test

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/migrations"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3/lock"
)

func TestMain(m *testing.M) { os.Exit(databasetest.Main(m)) }

// open opens a database without migrating it.
func open(t *testing.T, cfg database.Config) *database.DB {
	t.Helper()
	cfg.Log = databasetest.Log(t)
	db, err := database.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil && db.Embedded() {
			t.Error(err) // a connection to a server that a test killed does not close
		}
	})
	return db
}

// eachEmpty runs a test on all engines, on a database without tables.
func eachEmpty(t *testing.T, test func(t *testing.T, cfg database.Config)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, database.Config{DataDir: t.TempDir()}) })
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) { test(t, database.Config{MySQLDSN: dsn}) })
}

func up(t *testing.T, db *database.DB) int {
	t.Helper()
	applied, err := migrations.Up(t.Context(), db, databasetest.Log(t))
	if err != nil {
		t.Fatalf("Up: %v", err)
	}
	return applied
}

// run executes statements, one a string.
func run(t *testing.T, db *database.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.Setup().ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// rows returns what a query finds, a row a string: values separated by a bar, NULL for NULL.
func rows(t *testing.T, db *database.DB, query string, args ...any) []string {
	t.Helper()
	found, err := db.Setup().QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	t.Cleanup(func() { closeOne(t, found) })
	names, err := found.Columns()
	if err != nil {
		t.Fatal(err)
	}
	table := []string{}
	for found.Next() {
		values, into := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := make([]string, len(names))
		for i, v := range values {
			if row[i] = "NULL"; v.Valid {
				row[i] = v.String
			}
		}
		table = append(table, strings.Join(row, "|"))
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return table
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestUp_repeatAppliesNothing(t *testing.T) {
	t.Parallel()
	eachEmpty(t, func(t *testing.T, cfg database.Config) {
		db := open(t, cfg)
		before, err := migrations.Status(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range before {
			if s.AppliedAt != nil {
				t.Errorf("%s is applied in an empty database", s.Name)
			}
		}
		equal(t, "applied the first time", up(t, db), len(before))
		equal(t, "applied the second time", up(t, db), 0)
		after, err := migrations.Status(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		names := []string{"00001_tables"}
		if !db.Embedded() {
			names = append(names, "00002_adopt_old_tables")
		}
		names = append(names, "00003_guards_and_indexes", "00004_storefront")
		if db.Embedded() {
			names = append(names, "00005_open_checkouts_of_a_client")
		}
		equal(t, "migrations", len(after), len(names))
		for i, s := range after {
			equal(t, "name", s.Name, names[i])
			if age := time.Since(*s.AppliedAt); age < -time.Minute || age > time.Minute {
				t.Errorf("%s was applied at %v, want now", s.Name, s.AppliedAt)
			}
		}
	})
}

func TestStatus_writesNothing(t *testing.T) {
	t.Parallel()
	eachEmpty(t, func(t *testing.T, cfg database.Config) {
		db := open(t, cfg)
		if _, err := migrations.Status(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		tables := "SELECT table_name FROM information_schema.tables WHERE table_schema = database()"
		if db.Embedded() {
			tables = "SELECT name FROM sqlite_master"
		}
		equal(t, "tables", rows(t, db, tables), []string{})
	})
}

func TestUp_tableOfAnotherInstanceIsNoObstacle(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		db := open(t, database.Config{MySQLDSN: dsn})
		for i := range 30 {
			n := i%10 + 1
			run(t, db, "DROP TABLE IF EXISTS client_cart")
			create := func() {
				run(t, db, `CREATE TABLE client_cart (client_id varchar(100) COLLATE utf8mb4_bin NOT NULL,
					product_id varchar(100) COLLATE utf8mb4_bin NOT NULL, quantity int, PRIMARY KEY (client_id, product_id))`)
			}
			if err := migrations.CheckAdoptableBeside(t.Context(), db.Setup(), n, create); err != nil {
				t.Errorf("created before read %d: %v", n, err)
			}
		}
	})
}

func TestUp_fiveInstancesAtOnce(t *testing.T) {
	t.Parallel()
	eachEmpty(t, func(t *testing.T, cfg database.Config) {
		const instances = 5
		var all sync.WaitGroup
		var applied [instances]int
		for i := range instances {
			db := open(t, cfg)
			all.Go(func() {
				n, err := migrations.Up(t.Context(), db, databasetest.Log(t))
				if err != nil {
					t.Errorf("instance %d: %v", i, err)
				}
				applied[i] = n
			})
		}
		all.Wait()
		sum := 0
		for _, n := range applied {
			sum += n
		}
		states, err := migrations.Status(t.Context(), open(t, cfg))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "migrations applied by all instances together", sum, len(states))
	})
}

// closeOne closes what a server that a test killed may have closed before.
func closeOne(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Log(err)
	}
}

// holdLock takes the migrations' lock as an instance does that is killed then. Its lease ends after
// a while.
func holdLock(t *testing.T, db *database.DB, lease time.Duration) {
	t.Helper()
	locker, err := lock.NewMySQLTableLocker(lock.WithTableLeaseDuration(lease), lock.WithTableLockTimeout(time.Second, 1))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // ends the heartbeat
	if err := locker.Lock(ctx, db.Setup()); err != nil {
		t.Fatalf("take the lock: %v", err)
	}
}

func TestUp_withNothingPendingTakesNoLock(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		holdLock(t, db, time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if n, err := migrations.Up(ctx, db, databasetest.Log(t)); n != 0 || err != nil {
			t.Errorf("Up applied %d, error %v; want neither", n, err)
		}
	})
}

// A signal is a log handler that holds one token once someone waits for the lock.
type signal chan struct{}

func (s signal) Handle(_ context.Context, record slog.Record) error {
	if strings.HasPrefix(record.Message, "waiting for another instance") {
		select {
		case s <- struct{}{}:
		default:
		}
	}
	return nil
}
func (s signal) Enabled(context.Context, slog.Level) bool { return true }
func (s signal) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s signal) WithGroup(string) slog.Handler            { return s }

func TestUp_continuesWhenTheMigratingInstanceIsKilled(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		cfg := database.Config{MySQLDSN: dsn}
		db := open(t, cfg)
		holdLock(t, open(t, cfg), 2*time.Second)
		waiting := make(signal, 1)
		type outcome struct {
			applied int
			err     error
		}
		done := make(chan outcome, 1)
		go func() {
			n, err := migrations.Up(t.Context(), db, slog.New(waiting))
			done <- outcome{n, err}
		}()
		select {
		case <-waiting:
		case got := <-done:
			t.Fatalf("Up did not wait: %+v", got)
		}
		if got := <-done; got.err != nil || got.applied == 0 {
			t.Errorf("after the holder was killed Up applied %d, error %v; want all of them", got.applied, got.err)
		}
	})
}

func TestUp_failureReleasesTheLock(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		cfg := database.Config{MySQLDSN: dsn}
		db := open(t, cfg)
		// A table of ours, in another shape, that the second migration fails at.
		run(t, db, "CREATE TABLE checkout_journal (id int PRIMARY KEY)", oldTables("utf8mb4_general_ci")[2], "INSERT INTO reserve_purchase VALUES ('token', 'shoe', 1)")
		if n, err := migrations.Up(t.Context(), db, databasetest.Log(t)); err == nil || n != 1 {
			t.Fatalf("Up applied %d, error %v; want 1 and an error", n, err)
		}
		holdLock(t, open(t, cfg), 2*time.Second)
	})
}

func TestUp_repairsATableOfVersionsWithoutItsFirstRow(t *testing.T) {
	t.Parallel()
	eachEmpty(t, func(t *testing.T, cfg database.Config) {
		db := open(t, cfg)
		up(t, db)
		if db.Embedded() {
			run(t, db, "DROP TABLE client_cart", "DROP TABLE product_details", "DROP TABLE reserve_purchase", "DROP TABLE checkout_journal", "DROP TABLE idempotency_key", "DROP TABLE product_guard")
		}
		run(t, db, "DELETE FROM goose_db_version")
		if up(t, db) == 0 {
			t.Error("Up applied nothing")
		}
	})
}

func TestTables_refuseNegativeQuantities(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for _, table := range []string{"client_cart (client_id, product_id, quantity) VALUES ('ann', 'shoe', ?)", "product_details (product_id, quantity) VALUES ('shoe', ?)"} {
			if _, err := db.Setup().ExecContext(t.Context(), "INSERT INTO "+table, -1); err == nil {
				t.Errorf("%s took -1", table)
			}
			if _, err := db.Setup().ExecContext(t.Context(), "INSERT INTO "+table, nil); err != nil {
				t.Errorf("%s does not take NULL: %v", table, err)
			}
		}
	})
}

func TestTables_compareIDsExactly(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		run(t, db,
			"INSERT INTO product_details (product_id, quantity) VALUES ('Shoe', 1), ('shoe', 2), ('shoé', 3)",
			"INSERT INTO client_cart VALUES ('ann', 'a', 1), ('Ann', 'a', 2), ('änn', 'a', 3)")
		equal(t, "products", rows(t, db, "SELECT quantity FROM product_details WHERE product_id = 'shoe'"), []string{"2"})
		equal(t, "lines", rows(t, db, "SELECT quantity FROM client_cart WHERE client_id = 'Ann'"), []string{"2"})
	})
}

// wantColumns is the shape on MySQL and MariaDB: name, type, may be NULL, collation.
var wantColumns = map[string][]string{
	"client_cart": {
		"client_id|varchar(100)|NO|utf8mb4_bin", "product_id|varchar(100)|NO|utf8mb4_bin", "quantity|int|YES|NULL",
	},
	"product_details": {
		"product_id|varchar(100)|NO|utf8mb4_bin", "product_name|varchar(100)|YES|utf8mb4_bin", "quantity|int|YES|NULL",
	},
	"reserve_purchase": {
		"reserve_id|varchar(100)|NO|utf8mb4_bin", "product_id|varchar(100)|YES|utf8mb4_bin", "quantity|int|YES|NULL",
	},
	"checkout_journal": {
		"checkout_id|varchar(36)|NO|utf8mb4_bin", "client_id|varchar(100)|NO|utf8mb4_bin", "state|varchar(16)|NO|utf8mb4_bin",
		"epoch|int|NO|NULL", "lease_expires_at|datetime(6)|YES|NULL", "items|mediumtext|NO|utf8mb4_bin",
		"reason|varchar(500)|YES|utf8mb4_bin", "idempotency_key|varchar(255)|YES|ascii_bin",
		"created_at|datetime(6)|NO|NULL", "updated_at|datetime(6)|NO|NULL", "reference|varchar(255)|YES|ascii_bin",
		"committed_event_due_at|datetime(6)|YES|NULL", "cancelled_event_due_at|datetime(6)|YES|NULL",
	},
	"idempotency_key": {
		"client_id|varchar(100)|NO|utf8mb4_bin", "endpoint|varchar(32)|NO|utf8mb4_bin", "idempotency_key|varchar(255)|NO|ascii_bin",
		"request_hash|binary(32)|NO|NULL", "http_status|int|YES|NULL", "body|mediumtext|YES|utf8mb4_bin", "created_at|datetime(6)|NO|NULL",
		"error_code|varchar(32)|YES|ascii_bin", "checkout_id|varchar(36)|YES|utf8mb4_bin",
	},
	"product_guard": {"product_id|varchar(100)|NO|utf8mb4_bin", "version|bigint|NO|NULL"},
}

var wantIndexes = map[string][]string{
	"client_cart":      {"PRIMARY|client_id,product_id"},
	"product_details":  {"PRIMARY|product_id"},
	"reserve_purchase": {"PRIMARY|reserve_id", "reserve_purchase_held|product_id,quantity"},
	"checkout_journal": {
		"PRIMARY|checkout_id", "checkout_journal_cancelled_event|cancelled_event_due_at", "checkout_journal_client_id|client_id,checkout_id",
		"checkout_journal_committed_event|committed_event_due_at", "checkout_journal_state|state,checkout_id",
		"client_id|client_id,lease_expires_at", "lease_expires_at|lease_expires_at",
	},
	"product_guard":   {"PRIMARY|product_id"},
	"idempotency_key": {"PRIMARY|client_id,endpoint,idempotency_key", "created_at|created_at"},
}

// assertShape compares the tables with what they must be, in information_schema and by trying.
func assertShape(t *testing.T, db *database.DB) {
	t.Helper()
	const (
		tables  = "SELECT table_name FROM information_schema.tables WHERE table_schema = database() ORDER BY 1"
		columns = `SELECT column_name, REPLACE(REPLACE(column_type, 'bigint(20)', 'bigint'), 'int(11)', 'int'), is_nullable, collation_name
			FROM information_schema.columns WHERE table_schema = database() AND table_name = ? ORDER BY ordinal_position`
		indexes = `SELECT index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index)
			FROM information_schema.statistics WHERE table_schema = database() AND table_name = ? GROUP BY index_name ORDER BY index_name = 'PRIMARY' DESC, 1`
		engine = "SELECT engine, table_collation FROM information_schema.tables WHERE table_schema = database() AND table_name = ?"
	)
	const unique = `SELECT index_name FROM information_schema.statistics
		WHERE table_schema = database() AND table_name = 'goose_db_version' AND non_unique = 0 ORDER BY 1`
	equal(t, "unique indexes of goose_db_version", rows(t, db, unique), []string{"PRIMARY", "version_id"})
	equal(t, "tables", rows(t, db, tables),
		[]string{"checkout_journal", "client_cart", "goose_db_version", "goose_lock", "idempotency_key", "product_details", "product_guard", "reserve_purchase"})
	for table, want := range wantColumns {
		equal(t, "columns of "+table, rows(t, db, columns, table), want)
		equal(t, "indexes of "+table, rows(t, db, indexes, table), wantIndexes[table])
		equal(t, "engine of "+table, rows(t, db, engine, table), []string{"InnoDB|utf8mb4_bin"})
	}
	const checks = `SELECT table_name, constraint_name FROM information_schema.table_constraints
		WHERE constraint_schema = database() AND constraint_type = 'CHECK' ORDER BY 1`
	equal(t, "CHECKs", rows(t, db, checks),
		[]string{"client_cart|client_cart_quantity_check", "product_details|product_details_quantity_check"})
}

func TestTables_shapeOnServers(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		assertShape(t, db)
	})
}

func TestTables_reservedIsSummedFromTheIndexAlone(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	plan := rows(t, db, "EXPLAIN QUERY PLAN SELECT product_id, SUM(quantity) FROM reserve_purchase WHERE product_id IN ('a', 'b') GROUP BY product_id")
	if !strings.Contains(strings.Join(plan, "\n"), "COVERING INDEX reserve_purchase_held") {
		t.Errorf("the plan is %q", plan)
	}
}

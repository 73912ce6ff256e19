package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/migrations"

	"github.com/google/go-cmp/cmp"
)

// bothEngines returns a source and a target for a copy, migrated and empty.
func bothEngines(t *testing.T, flavour dbserver.Flavour) (source, target *database.DB) {
	t.Helper()
	return databasetest.Embedded(t), databasetest.Open(t, database.Config{MySQLDSN: databasetest.ServerDSN(t, flavour)})
}

// fill puts rows of every kind into the source: NULLs, foreign letters, times, bytes, and open
// checkouts.
func fill(t *testing.T, source *database.DB) {
	t.Helper()
	run(t, source,
		`INSERT INTO product_details VALUES ('mug', 'Mug, "large" ''blue''', 12), ('Mug', NULL, NULL), ('žába 🐸', '', 0)`,
		`INSERT INTO client_cart VALUES ('ann', 'mug', 3), ('Ann', 'mug', NULL), ('änn', 'mug', 2147483647)`,
		`INSERT INTO reserve_purchase VALUES ('0199:1', 'mug', 2), ('token', NULL, NULL)`,
		`INSERT INTO checkout_journal VALUES
			('0199', 'ann', 'reserved', 1, '2026-01-02 03:04:05.678', '[{"productID":"mug","quantity":2}]', NULL, 'key~1', '2026-01-02 03:03:50.678', '2026-01-02 03:03:50.678', 'order~7', NULL, NULL),
			('0198', 'bob', 'rolled_back', 2, NULL, '[]', 'declined: \ no % money', NULL, '2026-01-01 00:00:00.000', '2026-01-01 00:00:00.001',
				NULL, '2026-01-01 00:00:00.002', '2026-01-01 00:00:00.003')`,
		`INSERT INTO idempotency_key VALUES
			('ann', 'checkOutCart', 'key~1', x'00ff270a5c0000000000000000000000000000000000000000000000000000ff', NULL, NULL, '2026-01-02 03:03:50.678', NULL, '0199'),
			('ann', 'addToCart', 'key~2', x'0101010101010101010101010101010101010101010101010101010101010101', 200, '{"status":"Success","error":""}`+"\n"+`', '2026-01-02 03:03:50', 'invalid', NULL)`)
}

// eachRow calls use for each row of a query; nil is NULL.
func eachRow(t *testing.T, db *database.DB, query string, use func(row []*string)) {
	t.Helper()
	rows, err := db.Setup().QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, into := make([]*string, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		use(values)
	}
}

// dump returns the rows of all tables as text, sorted. Of leases it only says whether there is one.
func dump(t *testing.T, db *database.DB) []string {
	t.Helper()
	hex, char := "hex(request_hash)", "char(26)"
	if db.Embedded() {
		char = "text"
	}
	at := func(name string) string {
		if db.Embedded() {
			return "strftime('%Y-%m-%d %H:%M:%f', " + name + ")"
		}
		return "left(cast(" + name + " as " + char + "), 23)"
	}
	var all []string
	for _, query := range []string{
		"SELECT 'product', product_id, product_name, quantity FROM product_details",
		"SELECT 'line', client_id, product_id, quantity FROM client_cart",
		"SELECT 'hold', reserve_id, product_id, quantity FROM reserve_purchase",
		"SELECT 'checkout', checkout_id, client_id, state, epoch, lease_expires_at IS NULL, items, reason, idempotency_key, " +
			at("created_at") + ", " + at("updated_at") + " FROM checkout_journal",
		"SELECT 'key', client_id, endpoint, idempotency_key, " + hex + ", http_status, body, " + at("created_at") + " FROM idempotency_key",
	} {
		eachRow(t, db, query, func(row []*string) {
			var text strings.Builder
			for _, v := range row {
				if v == nil {
					text.WriteString("|NULL")
				} else {
					fmt.Fprintf(&text, "|%q", *v)
				}
			}
			all = append(all, text.String())
		})
	}
	slices.Sort(all)
	return all
}

func TestCopy_holdsEveryRow(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		source, target := bothEngines(t, flavour)
		fill(t, source)
		var told []int64
		report, err := migrations.Copy(t.Context(), source, target, func(done, all int64) { told = append(told, done, all) })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(dump(t, source), dump(t, target)); diff != "" {
			t.Errorf("the copy differs (-source +target):\n%s", diff)
		}
		if report.Rows() != 12 || report.AlreadyThere {
			t.Errorf("%d rows, already there %v; want 12, false", report.Rows(), report.AlreadyThere)
		}
		if diff := cmp.Diff([]int64{24, 24}, told[len(told)-2:]); diff != "" {
			t.Errorf("progress (-want +got):\n%s", diff)
		}

		// Its leases are over by the target's own clock, so that the next server claims them at
		// once.
		var over int
		if err := target.Setup().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM checkout_journal"+
			" WHERE lease_expires_at <= UTC_TIMESTAMP(6) AND lease_expires_at > UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE").Scan(&over); err != nil || over != 1 {
			t.Errorf("%d leases ended just now, error %v; want 1", over, err)
		}

		// Again, it finds that all is there. After a change it does not.
		report, err = migrations.Copy(t.Context(), source, target, ignore)
		if err != nil || !report.AlreadyThere || report.Rows() != 12 {
			t.Errorf("the second copy: %+v, error %v; want that all was there", report, err)
		}
		run(t, target, "UPDATE client_cart SET quantity = 4 WHERE client_id = 'ann'")
		if _, err := migrations.Copy(t.Context(), source, target, ignore); !errors.Is(err, migrations.ErrOccupied) {
			t.Errorf("onto other rows: %v, want %v", err, migrations.ErrOccupied)
		}
	})
}

func TestCopy_statementsHaveABoundedSize(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		source, target := bothEngines(t, flavour)
		// More rows, and more bytes, than one INSERT takes.
		run(t, source,
			`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2345) INSERT INTO product_details SELECT 'p' || i, 'name', i FROM n`,
			`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
				INSERT INTO checkout_journal SELECT 'c' || i, 'ann', 'committed', 1, NULL, printf('%.*c', 100000, 'x'), NULL, NULL, '2026-01-01', '2026-01-01',
				NULL, NULL, NULL FROM n`)
		report, err := migrations.Copy(t.Context(), source, target, ignore)
		if err != nil || report.Rows() != 2385 {
			t.Errorf("got %+v, error %v", report, err)
		}
		if diff := cmp.Diff(dump(t, source), dump(t, target)); diff != "" {
			t.Errorf("the copy differs (-source +target):\n%s", diff)
		}
	})
}

func TestCopy_failureLeavesNothing(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for name, test := range map[string]struct {
			spoil func(t *testing.T, source, target *database.DB) context.Context
			want  string
		}{
			"a value that does not fit": {func(t *testing.T, source, _ *database.DB) context.Context {
				run(t, source, `INSERT INTO idempotency_key VALUES ('zoe', '`+strings.Repeat("e", 33)+`', 'k', x'00', NULL, NULL, '2026-01-01', NULL, NULL)`)
				return t.Context()
			}, `copy idempotency_key: the rows from "ann" to "zoe"`},
			"a server that writes something else": {func(t *testing.T, _, target *database.DB) context.Context {
				run(t, target, "CREATE TRIGGER more BEFORE INSERT ON client_cart FOR EACH ROW SET NEW.quantity = NEW.quantity - 1")
				return t.Context()
			}, migrations.ErrCopyDiffers.Error() + ": client_cart"},
			"an interruption": {func(t *testing.T, _, _ *database.DB) context.Context {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				return ctx
			}, "context canceled"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				source, target := bothEngines(t, flavour)
				fill(t, source)
				ctx := test.spoil(t, source, target)
				before := dump(t, source)
				_, err := migrations.Copy(ctx, source, target, ignore)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q in it", err, test.want)
				}
				if rows := dump(t, target); len(rows) > 0 {
					t.Errorf("the target has %q, want nothing", rows)
				}
				if diff := cmp.Diff(before, dump(t, source)); diff != "" {
					t.Errorf("the source changed (-before +after):\n%s", diff)
				}
			})
		}
	})
}

func TestCopy_knowsEveryColumn(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		source, target := bothEngines(t, flavour)
		for db, query := range map[*database.DB]string{
			source: "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'goose_db_version' ORDER BY m.name, c.cid",
			target: "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = database() AND table_name NOT LIKE 'goose%' ORDER BY table_name, ordinal_position",
		} {
			there := map[string][]string{}
			eachRow(t, db, query, func(row []*string) { there[*row[0]] = append(there[*row[0]], *row[1]) })
			delete(there, "product_guard") // its versions matter to no other database
			if diff := cmp.Diff(there, migrations.CopiedColumns()); diff != "" {
				t.Errorf("%s (-there +copied):\n%s", db.Engine(), diff)
			}
		}
	})
}

// ignore is the progress of a copy that nobody follows.
func ignore(int64, int64) {}

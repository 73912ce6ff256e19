package database_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"

	"github.com/google/go-cmp/cmp"
)

func TestValues_writesPlaceholders(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ got, want string }{
		{database.Values(1, 1), "(?)"},
		{database.Values(2, 3), "(?,?,?),(?,?,?)"},
		{database.In(1), "(?)"},
		{database.In(3), "(?,?,?)"},
		{database.AnyOf(1, "a = ?"), "((a = ?))"},
		{database.AnyOf(3, "a = ? AND b = ?"), "((a = ? AND b = ?) OR (a = ? AND b = ?) OR (a = ? AND b = ?))"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}

// keyed are the statements that the dialect writes to find rows by their keys, each for n keys.
func keyed(d database.Dialect, n int) map[string]struct {
	statement, table string
	args             []any
} {
	type statement = struct {
		statement, table string
		args             []any
	}
	numbered := func(columns int, column func(i, c int) any) (args []any) {
		for i := range n {
			for c := range columns {
				args = append(args, column(i, c))
			}
		}
		return args
	}
	name := func(prefix string, i int) string { return fmt.Sprintf("%s%05d", prefix, i+1) }
	lines := numbered(2, func(i, c int) any { return name([]string{"c", "p"}[c], i) })
	products := numbered(1, func(i, _ int) any { return name("p", i) })
	keys := numbered(3, func(i, c int) any { return []any{name("c", i), "add", name("k", i)}[c] })
	journal := numbered(2, func(i, c int) any { return []any{name("j", i), 1}[c] })
	lock := ""
	if d.Name() == "mysql" {
		lock = " FOR UPDATE"
	}
	return map[string]statement{
		"select by one column": {"SELECT product_id FROM " + d.ByKey("product_details") + " WHERE product_id IN " +
			database.In(n) + " ORDER BY product_id" + lock, "product_details", products},
		"select by two columns": {"SELECT quantity FROM " + d.ByKey("client_cart") + " WHERE " +
			database.AnyOf(n, "client_id = ? AND product_id = ?") + " ORDER BY client_id, product_id" + lock, "client_cart", lines},
		"select by a key's first column": {"SELECT quantity FROM " + d.ByKey("client_cart") + " WHERE client_id IN " +
			database.In(n) + " ORDER BY client_id, product_id" + lock, "client_cart", numbered(1, func(i, _ int) any { return name("c", i) })},
		"update by one column": {"UPDATE " + d.ByKey("product_details") + " SET quantity = 1 WHERE product_id IN " +
			database.In(n), "product_details", products},
		"update by key and more": {"UPDATE " + d.ByKey("checkout_journal") + " SET epoch = epoch + 1 WHERE " +
			database.AnyOf(n, "checkout_id = ? AND epoch = ?") + " AND lease_expires_at <= " + d.Now(), "checkout_journal", journal},
		"join by two columns": {"SELECT t.quantity FROM " + d.JoinKeys("client_cart", n, "client_id", "product_id"), "client_cart", d.List(2, lines)},
		"join by three columns": {"SELECT t.body FROM " + d.JoinKeys("idempotency_key", n, "client_id", "endpoint", "idempotency_key"),
			"idempotency_key", d.List(3, keys)},
		"delete by one column": {d.DeleteKeys("reserve_purchase", n, "reserve_id"), "reserve_purchase",
			d.List(1, numbered(1, func(i, _ int) any { return name("r", i) }))},
		"delete by two columns": {d.DeleteKeys("client_cart", n, "client_id", "product_id"), "client_cart", d.List(2, lines)},
		"delete by three columns": {d.DeleteKeys("idempotency_key", n, "client_id", "endpoint", "idempotency_key"), "idempotency_key",
			d.List(3, keys)},
		"subtract": {d.Subtract("product_details", "product_id", "quantity", n), "product_details",
			d.List(2, numbered(2, func(i, c int) any { return []any{name("p", i), 1}[c] }))},
	}
}

// fill stores rows in each table.
func fill(t *testing.T, db *database.DB, rows int) {
	t.Helper()
	d := db.Dialect()
	const chunk = 250
	for from := 0; from < rows; from += chunk {
		transact(t, db, func(tx *database.Tx) error {
			for table, row := range map[string]string{
				"client_cart":      "('c%05[1]d', 'p%05[1]d', 1)",
				"product_details":  "('p%05[1]d', 'a product', 100)",
				"reserve_purchase": "('r%05[1]d', 'p%05[1]d', 1)",
				"checkout_journal": "('j%05[1]d', 'c', 'reserved', 1, " + d.Now() + ", '[]', NULL, NULL, " + d.Now() + ", " + d.Now() + ", NULL, NULL, NULL)",
				"idempotency_key":  "('c%05[1]d', 'add', 'k%05[1]d', 'hash', 200, '', " + d.Now() + ", NULL, NULL)",
			} {
				var values []string
				for i := range min(chunk, rows-from) {
					// strftime has signs of its own for Sprintf.
					values = append(values, strings.ReplaceAll(row, "%05[1]d", fmt.Sprintf("%05d", from+i+1)))
				}
				if _, err := tx.Exec(t.Context(), "INSERT INTO "+table+" VALUES "+strings.Join(values, ",")); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// plan returns how the engine finds a statement's rows: table and way, step by step.
func plan(t *testing.T, db *database.DB, statement string, args []any) (steps [][2]string) {
	t.Helper()
	explain := "EXPLAIN "
	if db.Embedded() {
		explain = "EXPLAIN QUERY PLAN "
	}
	rows, err := db.Setup().QueryContext(t.Context(), explain+statement, args...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what there is to say
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		dest := make([]any, len(columns))
		row := map[string]string{}
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		for i, column := range columns {
			row[strings.ToLower(column)] = values[i].String
		}
		if db.Embedded() {
			steps = append(steps, [2]string{"", row["detail"]})
		} else {
			steps = append(steps, [2]string{row["table"], row["type"] + " " + row["key"]})
		}
	}
	if err := rows.Err(); err != nil || len(steps) == 0 {
		t.Fatalf("%s: no plan, error %v", statement, err)
	}
	return steps
}

func TestDialect_findsRowsByKeyWhateverTheStatistics(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		check := func(state string) {
			for _, n := range []int{1, 2, 100, database.ChunkRows} {
				for name, s := range keyed(db.Dialect(), n) {
					for _, step := range plan(t, db, s.statement, s.args) {
						if !byKey(db, step, s.table) {
							t.Errorf("%s, %d keys, tables %s: %v", name, n, state, step)
						}
					}
				}
			}
		}
		const analyze = "ANALYZE TABLE client_cart, product_details, reserve_purchase, checkout_journal, idempotency_key"
		check("empty")
		fill(t, db, 2000)
		check("filled")
		if db.Embedded() {
			return // nobody collects statistics there, and no rows are locked
		}
		execute(t, db.Setup(), analyze)
		check("analyzed")
		transact(t, db, func(tx *database.Tx) error {
			for _, table := range []string{"client_cart", "product_details", "reserve_purchase", "checkout_journal", "idempotency_key"} {
				if _, err := tx.Exec(t.Context(), "DELETE FROM "+table); err != nil {
					return err
				}
			}
			return nil
		})
		check("emptied")
		fill(t, db, 3)
		execute(t, db.Setup(), analyze)
		check("of a few rows")
	})
}

// byKey reports whether a step of a plan looks at the list of keys, or finds rows of the table by
// primary key.
func byKey(db *database.DB, step [2]string, table string) bool {
	if db.Embedded() {
		how, of, _ := strings.Cut(step[1], " ")
		of, by, _ := strings.Cut(of, " ")
		return (of != table && of != "t") ||
			how == "SEARCH" && (strings.Contains(by, "PRIMARY KEY") || strings.Contains(by, "sqlite_autoindex_"+table))
	}
	if step[0] != table && step[0] != "t" {
		return true // the list of keys; or a row that was looked up, and is not there, while planning
	}
	return slices.Contains([]string{"range PRIMARY", "eq_ref PRIMARY", "const PRIMARY", "ref PRIMARY"}, step[1])
}

func TestDialect_subtractCountsRowsThatHadEnough(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		transact(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO product_details (product_id, quantity) VALUES ('enough', 10), ('exact', 5), ('none', NULL), ('other', 7), ('short', 4)")
			return err
		})
		for _, test := range []struct {
			args []any
			want int64
		}{
			{[]any{"enough", 3}, 1},
			{[]any{"enough", 2, "exact", 5, "missing", 1, "none", 1, "short", 5}, 2},
			{[]any{"Enough", 1, "énough", 1}, 0},
			{[]any{"short", 5}, 0},
		} {
			transact(t, db, func(tx *database.Tx) error {
				got, err := tx.Exec(t.Context(), tx.Dialect().Subtract("product_details", "product_id", "quantity", len(test.args)/2), tx.Dialect().List(2, test.args)...)
				if got != test.want {
					t.Errorf("%v: %d rows had enough, want %d", test.args, got, test.want)
				}
				return err
			})
		}
		var got []string
		err := db.Read(t.Context(), func(tx *database.Tx) error {
			return tx.Each(t.Context(), func(rows *sql.Rows) error {
				var id string
				var quantity sql.NullInt64
				err := rows.Scan(&id, &quantity)
				got = append(got, fmt.Sprint(id, " ", quantity.Int64, quantity.Valid))
				return err
			}, "SELECT product_id, quantity FROM product_details ORDER BY product_id")
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"enough 5 true", "exact 0 true", "none 0 false", "other 7 true", "short 4 true"}, got); diff != "" {
			t.Errorf("what is left (-want +got):\n%s", diff)
		}
	})
}

func TestDialect_deleteKeysDeletesNoOther(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		transact(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO client_cart (client_id, product_id, quantity) VALUES"+
				" ('a', 'hat', 1), ('a', 'shoe', 1), ('b', 'hat', 1), ('b', 'shoe', 1), ('B', 'shoe', 1)")
			return err
		})
		transact(t, db, func(tx *database.Tx) error {
			n, err := tx.Exec(t.Context(), tx.Dialect().DeleteKeys("client_cart", 3, "client_id", "product_id"),
				tx.Dialect().List(2, []any{"a", "shoe", "b", "missing", "b", "shoe"})...)
			if n != 2 {
				t.Errorf("%d rows were deleted, want 2", n)
			}
			return err
		})
		var left []string
		if err := db.Read(t.Context(), func(tx *database.Tx) error {
			return tx.Each(t.Context(), func(rows *sql.Rows) error {
				var client, product string
				err := rows.Scan(&client, &product)
				left = append(left, client+" "+product)
				return err
			}, "SELECT client_id, product_id FROM client_cart ORDER BY client_id, product_id")
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"B shoe", "a hat", "b hat"}, left); diff != "" {
			t.Errorf("what is left (-want +got):\n%s", diff)
		}
	})
}

func TestDialect_joinKeysFindsNoOther(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		transact(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO client_cart (client_id, product_id, quantity) VALUES"+
				" ('a', 'hat', 1), ('a', 'shoe', 2), ('b', 'hat', 3), ('b', 'shoe', 4), ('B', 'shoe', 5)")
			return err
		})
		var got []int
		err := db.Read(t.Context(), func(tx *database.Tx) error {
			return tx.Select(t.Context(), &got, "SELECT t.quantity FROM "+tx.Dialect().JoinKeys("client_cart", 3, "client_id", "product_id")+
				" ORDER BY t.quantity", tx.Dialect().List(2, []any{"b", "shoe", "a", "hat", "a", "missing"})...)
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{1, 4}, got); diff != "" {
			t.Errorf("what was found (-want +got):\n%s", diff)
		}
	})
}

func TestDialect_upsertAdds(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		d := db.Dialect()
		for range 2 {
			transact(t, db, func(tx *database.Tx) error {
				_, err := tx.Exec(t.Context(), d.InsertList("product_details", 2, "quantity", "product_id")+
					d.OnConflict("product_id")+"quantity = product_details.quantity + "+d.Incoming("quantity"),
					d.List(2, []any{"hat", 1, "shoe", int64(2)})...)
				return err
			})
		}
		if ids, quantities := stored(t, db); !cmp.Equal(ids, []string{"hat", "shoe"}) || !cmp.Equal(quantities, []int{2, 4}) {
			t.Errorf("stored %v of %v, want 2 hats and 4 shoes", quantities, ids)
		}
	})
}

func TestDialect_upsertReturnsStoredRows(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		d := db.Dialect()
		if d.Returning() == strings.HasSuffix(t.Name(), "/mysql") {
			t.Fatalf("the dialect has RETURNING: %v", d.Returning())
		}
		if !d.Returning() {
			return
		}
		store(t, db, "hat")
		got := map[string]int{}
		transact(t, db, func(tx *database.Tx) error {
			return tx.Each(t.Context(), func(rows *sql.Rows) error {
				var id string
				var quantity int
				err := rows.Scan(&id, &quantity)
				got[id] = quantity
				return err
			}, d.InsertList("product_details", 2, "quantity", "product_id")+d.OnConflict("product_id")+
				"quantity = product_details.quantity + "+d.Incoming("quantity")+" RETURNING product_id, quantity",
				d.List(2, []any{"hat", 5, "shoe", 7})...)
		})
		if diff := cmp.Diff(map[string]int{"hat": 15, "shoe": 7}, got); diff != "" {
			t.Errorf("returned (-want +got):\n%s", diff)
		}
	})
}

func TestDialect_listHoldsAnyText(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		ids := []string{"plain", `qu"ote`, `back\slash`, "Ünï 😀", "a'b", "</script>", "tab\there", strings.Repeat("é", 100), "\u2028"}
		args := make([]any, 0, 2*len(ids))
		for i, id := range ids {
			args = append(args, id, i)
		}
		d := db.Dialect()
		transact(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), d.InsertList("product_details", len(ids), "quantity", "product_id"), d.List(2, args)...)
			return err
		})
		got := map[string]int{}
		transact(t, db, func(tx *database.Tx) error {
			return tx.Each(t.Context(), func(rows *sql.Rows) error {
				var id string
				var quantity int
				err := rows.Scan(&id, &quantity)
				got[id] = quantity
				return err
			}, "SELECT product_id, quantity FROM product_details")
		})
		for i, id := range ids {
			if n, found := got[id]; !found || n != i {
				t.Errorf("%q was stored as %d, %v; want %d", id, n, found, i)
			}
		}
	})
}

// The statements that name several rows lock them in the order of their arguments: here in one that
// is not the keys', which nobody asks for, so that it shows.
func TestDialect_locksRowsInTheOrderGiven(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for name, run := range map[string]func(ctx context.Context, tx *database.Tx, a, b, c string) (int64, error){
			"subtract": func(ctx context.Context, tx *database.Tx, a, b, c string) (int64, error) {
				return tx.Exec(ctx, tx.Dialect().Subtract("product_details", "product_id", "quantity", 3), tx.Dialect().List(2, []any{a, 1, b, 1, c, 1})...)
			},
			"delete": func(ctx context.Context, tx *database.Tx, a, b, c string) (int64, error) {
				return tx.Exec(ctx, tx.Dialect().DeleteKeys("product_details", 3, "product_id"), tx.Dialect().List(1, []any{a, b, c})...)
			},
			"upsert": func(ctx context.Context, tx *database.Tx, a, b, c string) (int64, error) {
				d := tx.Dialect()
				return tx.Exec(ctx, d.InsertList("product_details", 3, "quantity", "product_id")+d.OnConflict("product_id")+
					"quantity = product_details.quantity + "+d.Incoming("quantity"), d.List(2, []any{a, 1, b, 1, c, 1})...)
			},
		} {
			for _, order := range [][]string{{"a", "m", "z"}, {"z", "m", "a"}} {
				t.Run(name+" "+strings.Join(order, ""), func(t *testing.T) {
					t.Parallel()
					db := databasetest.Open(t, database.Config{MySQLDSN: databasetest.ServerDSN(t, flavour)})
					store(t, db, "a", "m", "z")
					release := hold(t, db, "m")
					result := make(chan error, 1)
					go func() {
						result <- db.Transact(t.Context(), func(tx *database.Tx) error {
							if _, err := run(t.Context(), tx, order[0], order[1], order[2]); err != nil {
								return err
							}
							return errWork
						}, nil)
					}()
					someoneWaits(t, db)
					var free []string
					transact(t, db, func(tx *database.Tx) error {
						return tx.Select(t.Context(), &free, "SELECT product_id FROM "+tx.Dialect().ByKey("product_details")+
							" WHERE product_id IN ('a', 'm', 'z') ORDER BY product_id"+tx.ForUpdateSkipLocked())
					})
					if want := order[2:]; !cmp.Equal(free, want) {
						t.Errorf("while the second row is waited for, %v are free, want %v", free, want)
					}
					release()
					is(t, <-result, errWork)
				})
			}
		}
	})
}

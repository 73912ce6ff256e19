package migrations_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/migrations"
)

// oldTables returns the old system's three tables, in a collation.
func oldTables(collation string) []string {
	charset, _, _ := strings.Cut(collation, "_")
	in := fmt.Sprintf(" ENGINE = InnoDB DEFAULT CHARACTER SET %s COLLATE %s", charset, collation)
	return []string{
		"CREATE TABLE client_cart (client_id varchar(100), product_id varchar(100), quantity int, PRIMARY KEY (client_id, product_id))" + in,
		"CREATE TABLE product_details (product_id varchar(100), product_name varchar(100), quantity int, PRIMARY KEY (product_id))" + in,
		"CREATE TABLE reserve_purchase (reserve_id varchar(100), product_id varchar(100), quantity int, PRIMARY KEY (reserve_id))" + in,
	}
}

// oldRows are what the old system left: sound rows, and what its faults did to others.
var oldRows = []string{
	"INSERT INTO client_cart VALUES ('ann', 'Shoe', 2), ('ann', 'café', 1), ('bob', 'shoe', -3), ('cid', 'shoe', NULL), ('dan', 'gone', 4)",
	"INSERT INTO product_details VALUES ('shoe', 'A shoe', 10), ('café', 'Ein Café', 5), ('hat', NULL, -7), ('sock', 'Socks', NULL)",
	"INSERT INTO reserve_purchase VALUES ('token-1', 'shoe', 3), ('token-2', 'hat', -1), ('token-3', NULL, NULL)",
}

// oldCollations are the collations that old tables have.
var oldCollations = map[dbserver.Flavour][]string{
	dbserver.MySQL: {
		"utf8mb4_0900_ai_ci", // MySQL 8
		"utf8mb4_general_ci",
		"utf8mb4_unicode_520_ci",
		"utf8mb3_general_ci", // older servers
		"latin1_swedish_ci",
	},
	dbserver.MariaDB: {
		"utf8mb4_general_ci",     // as on Debian
		"utf8mb4_uca1400_ai_ci",  // MariaDB 11
		"utf8mb4_unicode_520_ci", // what tools make of 0900
		"utf8mb4_nopad_bin",      // compares exactly, but not as ours
		"utf8mb3_general_ci",     // older servers
		"latin1_swedish_ci",      // as compiled
		"utf8mb4_general_nopad_ci",
	},
}

// oldDatabase opens a database that holds the old system's tables and rows.
func oldDatabase(t *testing.T, flavour dbserver.Flavour, collation string, statements ...string) *database.DB {
	t.Helper()
	db := open(t, database.Config{MySQLDSN: databasetest.ServerDSN(t, flavour)})
	run(t, db, oldTables(collation)...)
	run(t, db, statements...)
	return db
}

func assertAdopted(t *testing.T, db *database.DB) {
	t.Helper()
	assertShape(t, db)
	equal(t, "carts", rows(t, db, "SELECT * FROM client_cart ORDER BY 1, 2"),
		[]string{"ann|café|1", "ann|shoe|2", "bob|shoe|0", "cid|shoe|NULL", "dan|gone|4"})
	equal(t, "products", rows(t, db, "SELECT * FROM product_details ORDER BY 1"),
		[]string{"café|Ein Café|5", "hat|NULL|0", "shoe|A shoe|10", "sock|Socks|NULL"})
	equal(t, "tokens", rows(t, db, "SELECT * FROM reserve_purchase"), []string{})
}

func TestAdoption_keepsRowsInPlace(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for _, collation := range oldCollations[flavour] {
			t.Run(collation, func(t *testing.T) {
				t.Parallel()
				db := oldDatabase(t, flavour, collation, oldRows...)
				exact := strings.HasSuffix(collation, "_bin")
				if exact {
					run(t, db, "UPDATE client_cart SET product_id = 'shoe' WHERE product_id = 'Shoe'")
				}
				up(t, db)
				assertAdopted(t, db)
				// What compared as the same now is not.
				run(t, db, "INSERT INTO product_details (product_id) VALUES ('SHOE'), ('cafe')")
			})
		}
	})
}

func TestAdoption_logsEveryRowItChanges(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db := oldDatabase(t, flavour, "utf8mb4_general_ci", oldRows...)
		var written bytes.Buffer
		if _, err := migrations.Up(t.Context(), db, slog.New(slog.NewJSONHandler(&written, nil))); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(written.String()) {
			var entry struct {
				Msg, Table, Change string
				Rows               int
				Samples            []string
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			if what, ok := strings.CutPrefix(entry.Msg, "adopting: "); ok {
				got = append(got, fmt.Sprintf("%s %s %d %s%v", what, entry.Table, entry.Rows, entry.Change, entry.Samples))
			}
		}
		equal(t, "log", got, []string{
			"spelled cart lines as their product is client_cart 1 [ann Shoe]",
			"set negative quantities to 0 product_details 1 [hat]",
			"set negative quantities to 0 client_cart 1 [bob shoe]",
			"altered the table product_details 4 CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin[]",
			"altered the table product_details 4 ADD CONSTRAINT product_details_quantity_check CHECK (quantity >= 0)[]",
			"altered the table client_cart 5 CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin[]",
			"altered the table client_cart 5 ADD CONSTRAINT client_cart_quantity_check CHECK (quantity >= 0)[]",
			"altered the table reserve_purchase 3 CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin[]",
			"altered the table reserve_purchase 3 ADD INDEX reserve_purchase_held (product_id, quantity)[]",
			"deleted reservations without a checkout reserve_purchase 3 [token-1 token-2 token-3]",
		})
	})
}

func TestAdoption_continuesAfterACrashAtAnyChange(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for changes, ended := 0, false; !ended; changes++ {
			db := oldDatabase(t, flavour, "utf8mb4_general_ci", oldRows...)
			// The first migration is done and, as after a crash, not written down.
			_, tables, _ := strings.Cut(migrations.FirstTables(), "-- +goose Up")
			for statement := range strings.SplitSeq(strings.TrimSpace(tables), ";\n") {
				run(t, db, statement)
			}
			var err error
			if ended, err = migrations.AdoptInPart(t.Context(), db.Setup(), changes, databasetest.Log(t)); err != nil {
				t.Fatalf("crash after %d changes: %v", changes, err)
			}
			equal(t, fmt.Sprintf("applied after a crash after %d changes", changes), up(t, db), 4)
			assertAdopted(t, db)
			if ended && changes != 10 {
				t.Errorf("adopting ended after %d changes, want 10", changes)
			}
		}
	})
}

func TestAdoption_repeatKeepsReservationsOfTheJournal(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		run(t, db,
			`INSERT INTO checkout_journal (checkout_id, client_id, state, epoch, items, created_at, updated_at)
			 VALUES ('01890a5d-ac96-774b-bcce-b302099a8057', 'ann', 'reserved', 1, '[]', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))`,
			"INSERT INTO reserve_purchase VALUES ('01890a5d-ac96-774b-bcce-b302099a8057:1', 'shoe', 1), ('01890a5d-ac96-774b-bcce-b302099a8057:2', 'hat', 1), ('token', 'hat', 1)",
			"DELETE FROM goose_db_version WHERE version_id > 0")
		equal(t, "applied", up(t, db), 4)
		equal(t, "reservations", rows(t, db, "SELECT reserve_id FROM reserve_purchase ORDER BY 1"),
			[]string{"01890a5d-ac96-774b-bcce-b302099a8057:1", "01890a5d-ac96-774b-bcce-b302099a8057:2"})
		assertShape(t, db)
	})
}

func TestAdoption_addsNothingTwice(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db := oldDatabase(t, flavour, "utf8mb4_general_ci",
			"ALTER TABLE client_cart ADD CONSTRAINT mine CHECK (`quantity`>=0)",
			"ALTER TABLE reserve_purchase ADD INDEX mine (product_id, quantity)")
		up(t, db)
		equal(t, "CHECKs", rows(t, db, "SELECT constraint_name FROM information_schema.table_constraints WHERE constraint_schema = database() AND constraint_type = 'CHECK' ORDER BY 1"),
			[]string{"mine", "product_details_quantity_check"})
		equal(t, "indexes", rows(t, db, "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = database() AND table_name = 'reserve_purchase' ORDER BY 1"),
			[]string{"mine", "PRIMARY"})
	})
}

func TestAdoption_repairsKeyAndEngine(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db := oldDatabase(t, flavour, "utf8mb4_general_ci", append(oldRows,
			"ALTER TABLE client_cart DROP PRIMARY KEY",
			"ALTER TABLE product_details ENGINE = MyISAM")...)
		up(t, db)
		assertShape(t, db)
	})
}

func TestAdoption_ofOneTableAlone(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for i, table := range oldTables("utf8mb4_general_ci") {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				db := open(t, database.Config{MySQLDSN: databasetest.ServerDSN(t, flavour)})
				run(t, db, table)
				up(t, db)
				assertShape(t, db)
			})
		}
	})
}

func TestAdoption_refusalChangesNothingAndNamesObstacles(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		nopad := map[dbserver.Flavour]string{dbserver.MariaDB: "utf8mb4_general_nopad_ci", dbserver.MySQL: "utf8mb4_0900_ai_ci"}[flavour]
		for name, test := range map[string]struct {
			collation  string
			statements []string
			want       []string
		}{
			"cart lines that differ in trailing spaces": {
				nopad,
				[]string{"INSERT INTO client_cart VALUES ('ann', 'shoe', 1), ('ann', 'shoe ', 2), ('bob', 'shoe ', 3)"},
				[]string{`client_cart has keys that utf8mb4_bin takes for the same, trailing spaces not counting (client_id, product_id, quantity)`, `('ann', 'shoe', 1)`, `('ann', 'shoe ', 2)`},
			},
			"products that differ in trailing spaces": {
				nopad,
				[]string{"INSERT INTO product_details VALUES ('shoe', 'A', 1), ('shoe  ', 'B', 2)"},
				[]string{`product_details has keys`, `('shoe', 1)`, `('shoe  ', 2)`},
			},
			"tokens that differ in trailing spaces": {
				nopad,
				[]string{"INSERT INTO reserve_purchase VALUES ('t', 'shoe', 1), ('t ', 'shoe', 2)"},
				[]string{`reserve_purchase has keys`, `('t', 1)`, `('t ', 2)`},
			},
			"the same key twice, and none, in a table without a primary key": {
				"utf8mb4_general_ci",
				[]string{
					"ALTER TABLE product_details DROP PRIMARY KEY, MODIFY product_id varchar(100) NULL",
					"INSERT INTO product_details VALUES ('shoe', 'A', 1), ('shoe', 'B', 2), (NULL, 'C', 3)",
				},
				[]string{`('shoe', 1)`, `('shoe', 2)`, `product_details has rows without a key (product_id, quantity): (NULL, 3)`},
			},
			"a foreign key to a table": {
				"utf8mb4_general_ci",
				[]string{"CREATE TABLE review (product_id varchar(100) COLLATE utf8mb4_general_ci, CONSTRAINT of_product FOREIGN KEY (product_id) REFERENCES product_details (product_id)) DEFAULT CHARACTER SET utf8mb4"},
				[]string{"the foreign key of_product from ", ".review to ", ".product_details stands in the way"},
			},
			"a foreign key from a table": {
				"utf8mb4_general_ci",
				[]string{"ALTER TABLE client_cart ADD CONSTRAINT of_stock FOREIGN KEY (product_id) REFERENCES product_details (product_id)"},
				[]string{"the foreign key of_stock from ", ".client_cart to ", ".product_details stands in the way"},
			},
			"another primary key": {
				"utf8mb4_general_ci",
				[]string{"ALTER TABLE client_cart DROP PRIMARY KEY, ADD PRIMARY KEY (client_id)"},
				[]string{"client_cart has the primary key (client_id), not (client_id, product_id)"},
			},
			"other columns": {
				"utf8mb4_general_ci",
				[]string{
					"ALTER TABLE product_details DROP product_name, MODIFY quantity int unsigned, ADD price int NOT NULL, ADD note text, ADD kind int NOT NULL DEFAULT 1",
					"ALTER TABLE reserve_purchase MODIFY reserve_id varchar(36)",
				},
				[]string{
					"product_details.product_name is missing", "product_details.quantity is int", "unsigned, not int",
					"product_details.price must be filled", "reserve_purchase.reserve_id is varchar(36), not varchar(100)",
				},
			},
			"what our statements would fail at": {
				"utf8mb4_general_ci",
				[]string{
					"ALTER TABLE client_cart MODIFY quantity int NOT NULL, ADD CONSTRAINT few CHECK (quantity < 10)",
					"CREATE UNIQUE INDEX names ON product_details (product_name)",
				},
				[]string{
					"client_cart.quantity does not accept NULL", "client_cart has another CHECK (quantity<10)",
					"product_details has the unique index names (product_name)",
				},
			},
			"columns that do not accept NULL": {
				"utf8mb4_general_ci",
				[]string{
					"ALTER TABLE product_details MODIFY product_name varchar(100) NOT NULL",
					"ALTER TABLE client_cart MODIFY quantity int NOT NULL",
				},
				[]string{"product_details.product_name does not accept NULL", "client_cart.quantity does not accept NULL"},
			},
			"a trigger": {
				"utf8mb4_general_ci",
				[]string{"CREATE TRIGGER lower_stock AFTER INSERT ON reserve_purchase FOR EACH ROW UPDATE product_details SET quantity = quantity - 1"},
				[]string{"the trigger lower_stock on reserve_purchase: DROP TRIGGER lower_stock"},
			},
			"a view": {
				"utf8mb4_general_ci",
				[]string{"RENAME TABLE product_details TO goods", "CREATE VIEW product_details AS SELECT * FROM goods"},
				[]string{"product_details is a view, not a table"},
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				// The negative line shows whether something was mended all the same.
				db := oldDatabase(t, flavour, test.collation, append(test.statements, "INSERT INTO reserve_purchase VALUES ('negative', 'hat', -1)")...)
				before := everything(t, db)
				applied, err := migrations.Up(t.Context(), db, databasetest.Log(t))
				if !errors.Is(err, migrations.ErrNotAdopted) || applied != 0 {
					t.Fatalf("Up applied %d, error %v; want none and %v", applied, err, migrations.ErrNotAdopted)
				}
				for _, want := range test.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("the error does not say %q:\n%v", want, err)
					}
				}
				for _, unwanted := range []string{"bob", "note", "kind"} {
					if strings.Contains(err.Error(), unwanted) {
						t.Errorf("the error speaks of %q:\n%v", unwanted, err)
					}
				}
				equal(t, "database", everything(t, db), before)
			})
		}
	})
}

func TestAdoption_checksAgainUnderTheLock(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db := oldDatabase(t, flavour, "utf8mb4_general_ci", append(oldRows,
			"CREATE TABLE review (product_id varchar(100) COLLATE utf8mb4_general_ci, FOREIGN KEY (product_id) REFERENCES product_details (product_id)) DEFAULT CHARACTER SET utf8mb4")...)
		before := everything(t, db)
		if err := migrations.Adopt(t.Context(), db.Setup(), databasetest.Log(t)); !errors.Is(err, migrations.ErrNotAdopted) {
			t.Errorf("got %v, want %v", err, migrations.ErrNotAdopted)
		}
		equal(t, "database", everything(t, db), before)
	})
}

func TestAdoption_keepsTheSpellingOfLinesWithoutAKey(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		db := oldDatabase(t, flavour, "utf8mb4_general_ci",
			"ALTER TABLE client_cart DROP PRIMARY KEY",
			"INSERT INTO client_cart VALUES ('ann', 'shoe', 1), ('ann', 'Shoe', 2)",
			"INSERT INTO product_details VALUES ('shoe', 'A shoe', 10)")
		up(t, db)
		equal(t, "carts", rows(t, db, "SELECT * FROM client_cart ORDER BY 3"), []string{"ann|shoe|1", "ann|Shoe|2"})
	})
}

// everything returns the database's tables, how they are made, and their rows.
func everything(t *testing.T, db *database.DB) []string {
	t.Helper()
	var all []string
	for _, table := range rows(t, db, "SELECT table_name FROM information_schema.tables WHERE table_schema = database() ORDER BY 1") {
		all = append(all, rows(t, db, "SHOW CREATE TABLE "+table)...)
		all = append(all, slices.Sorted(slices.Values(rows(t, db, "SELECT * FROM "+table)))...)
	}
	return all
}

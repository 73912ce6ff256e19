package databasetest_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestMain(m *testing.M) { os.Exit(databasetest.Main(m)) }

func TestEachTestHasADatabaseOfItsOwnOnBothEngines(t *testing.T) {
	t.Parallel()
	for range 2 { // the second finds nothing of the first
		databasetest.Each(t, func(t *testing.T, db *database.DB) {
			exec(t, db, "INSERT INTO product_details (product_id, quantity) VALUES ('shoe', 1)")
			var products int
			err := db.Read(t.Context(), func(tx *database.Tx) error {
				return tx.Each(t.Context(), func(rows *sql.Rows) error { return rows.Scan(&products) }, "SELECT count(*) FROM product_details")
			})
			if err != nil || products != 1 {
				t.Errorf("found %d products, error %v; want the one", products, err)
			}
		})
	}
}

func TestAServerOfOnesOwnKeepsWhatWasCommittedWhenItIsKilled(t *testing.T) {
	t.Parallel()
	server := databasetest.StartServer(t)
	db := databasetest.Open(t, database.Config{MySQLDSN: server.TCPDSN("shop")})
	exec(t, db, "INSERT INTO product_details (product_id, quantity) VALUES ('shoe', 1)")
	server.Kill()
	if err := db.Ping(t.Context()); !errors.Is(err, database.ErrUnavailable) {
		t.Errorf("a killed server answered %v, want %v", err, database.ErrUnavailable)
	}
	server.Start(t)
	again := databasetest.Open(t, database.Config{MySQLDSN: server.SocketDSN("shop")})
	exec(t, again, "UPDATE product_details SET quantity = quantity + 1 WHERE product_id = 'shoe'")
	server.Stop()
}

// exec runs a statement that must find one row.
func exec(t *testing.T, db *database.DB, statement string) {
	t.Helper()
	err := db.Transact(t.Context(), func(tx *database.Tx) error {
		n, err := tx.Exec(context.WithoutCancel(t.Context()), statement)
		if err == nil && n != 1 {
			t.Errorf("%s: %d rows, want 1", statement, n)
		}
		return err
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

package databasetest

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"cartwheel/database"
	"cartwheel/database/databasetest/dbserver"
)

// charsets are the default character sets that databases of the replaced system have.
var charsets = []string{"latin1 COLLATE latin1_swedish_ci", "utf8mb3 COLLATE utf8mb3_general_ci", "utf8mb4 COLLATE utf8mb4_general_ci"}

// EachCharset runs a test on databases of MariaDB and MySQL whose default character set is not
// ours. Each is used once as an empty database, and once after the adoption of old tables.
func EachCharset(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for _, charset := range charsets {
			name, _, _ := strings.Cut(charset, " ")
			for _, adopted := range []bool{false, true} {
				kind := " new"
				if adopted {
					kind = " adopted"
				}
				t.Run(name+kind, func(t *testing.T) {
					dsn := ServerDSN(t, flavour)
					createDatabase(t, dsn, charset, adopted)
					test(t, Open(t, database.Config{MySQLDSN: dsn}))
				})
			}
		}
	})
}

// createDatabase creates the DSN's database with a default character set, and the replaced system's
// tables if wanted.
func createDatabase(t *testing.T, dsn, charset string, oldTables bool) {
	t.Helper()
	settings, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := settings.DBName
	settings.DBName = ""
	connector, err := mysql.NewConnector(settings)
	if err != nil {
		t.Fatal(err)
	}
	server := sql.OpenDB(connector)
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	statements := []string{"CREATE DATABASE " + name + " CHARACTER SET " + charset}
	if oldTables {
		for _, columns := range []string{
			"client_cart (client_id varchar(100), product_id varchar(100), quantity int, PRIMARY KEY (client_id, product_id))",
			"product_details (product_id varchar(100), product_name varchar(100), quantity int, PRIMARY KEY (product_id))",
			"reserve_purchase (reserve_id varchar(100), product_id varchar(100), quantity int, PRIMARY KEY (reserve_id))",
		} {
			statements = append(statements, "CREATE TABLE "+name+"."+columns)
		}
	}
	for _, statement := range statements {
		if _, err := server.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

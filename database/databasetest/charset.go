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
	eachCharset(t, " new", nil, test)
	eachCharset(t, " adopted", oldTables, test)
}

// EachAdoptedRow runs a test on adopted databases of the kinds of EachCharset. The replaced system
// left one cart in them: two units of a product of which ten are on hand. In tables of the
// database's default character set the IDs are Latin, in tables of utf8mb4 they are Cyrillic.
func EachAdoptedRow(t *testing.T, test func(t *testing.T, db *database.DB, clientID, productID string)) {
	t.Helper()
	for _, old := range []struct{ kind, in, client, product string }{
		{" tables of the default", "", "Zoë", "café"},
		{" tables of utf8mb4", " CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "Ольга", "стол"},
	} {
		var statements []string
		for _, table := range oldTables {
			statements = append(statements, table+old.in)
		}
		statements = append(statements,
			"INSERT INTO product_details VALUES ('"+old.product+"', NULL, 10)",
			"INSERT INTO client_cart VALUES ('"+old.client+"', '"+old.product+"', 2)")
		eachCharset(t, old.kind, statements, func(t *testing.T, db *database.DB) { test(t, db, old.client, old.product) })
	}
}

// oldTables create the replaced system's tables.
var oldTables = []string{
	"CREATE TABLE client_cart (client_id varchar(100), product_id varchar(100), quantity int, PRIMARY KEY (client_id, product_id))",
	"CREATE TABLE product_details (product_id varchar(100), product_name varchar(100), quantity int, PRIMARY KEY (product_id))",
	"CREATE TABLE reserve_purchase (reserve_id varchar(100), product_id varchar(100), quantity int, PRIMARY KEY (reserve_id))",
}

// eachCharset runs a test on a database of each server and character set, after the statements were
// executed in it.
func eachCharset(t *testing.T, kind string, statements []string, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for _, charset := range charsets {
			name, _, _ := strings.Cut(charset, " ")
			t.Run(name+kind, func(t *testing.T) {
				dsn := ServerDSN(t, flavour)
				createDatabase(t, dsn, charset, statements)
				test(t, Open(t, database.Config{MySQLDSN: dsn}))
			})
		}
	})
}

// createDatabase creates the DSN's database with a default character set, and executes statements
// in it.
func createDatabase(t *testing.T, dsn, charset string, statements []string) {
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
	// One connection, which keeps its current database.
	server.SetMaxOpenConns(1)
	statements = append([]string{"CREATE DATABASE " + name + " CHARACTER SET " + charset, "USE " + name}, statements...)
	for _, statement := range statements {
		if _, err := server.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

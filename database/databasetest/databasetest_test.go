package databasetest_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

func TestMain(m *testing.M) { os.Exit(databasetest.Main(m)) }

func TestEach_givesEachTestItsOwnDatabase(t *testing.T) {
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

func TestEachServer_runsTheFlavourThatItNames(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		var version string
		if err := db.Setup().QueryRowContext(t.Context(), "SELECT version()").Scan(&version); err != nil {
			t.Fatal(err)
		}
		if want := strings.HasSuffix(t.Name(), "mariadb"); strings.Contains(version, "MariaDB") != want {
			t.Errorf("the server's version is %s", version)
		}
	})
}

func TestServer_keepsCommittedDataWhenKilled(t *testing.T) {
	t.Parallel()
	databasetest.EachPrivateServer(t, func(t *testing.T, server *databasetest.Server) {
		db := databasetest.Open(t, database.Config{MySQLDSN: server.TCPDSN("shop")})
		exec(t, db, "INSERT INTO product_details (product_id, quantity) VALUES ('shoe', 1)")
		if server.Gone() {
			t.Error("a running server is reported as gone")
		}
		server.Kill()
		if !server.Gone() {
			t.Error("a killed server is reported as running")
		}
		if err := db.Read(t.Context(), func(*database.Tx) error { return nil }); !errors.Is(err, database.ErrUnavailable) {
			t.Errorf("a killed server answered %v, want %v", err, database.ErrUnavailable)
		}
		server.Start(t)
		again := databasetest.Open(t, database.Config{MySQLDSN: server.SocketDSN("shop")})
		exec(t, again, "UPDATE product_details SET quantity = quantity + 1 WHERE product_id = 'shoe'")
		server.Stop()
		if !strings.Contains(server.Log(), "ready for connections") {
			t.Errorf("the server's log is %q", server.Log())
		}
	})
}

func TestServer_startsAgainAfterItEndedByItself(t *testing.T) {
	t.Parallel()
	databasetest.EachPrivateServer(t, func(t *testing.T, server *databasetest.Server) {
		db := databasetest.Open(t, database.Config{MySQLDSN: server.TCPDSN("shop")})
		exec(t, db, "INSERT INTO product_details (product_id, quantity) VALUES ('shoe', 1)")
		process, err := os.FindProcess(server.PID())
		if err == nil {
			err = process.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); !server.Gone(); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("the server has not ended")
			}
		}
		server.Start(t)
		runtime.GC() // a finalizer of the first process must not end the second
		runtime.GC()
		again := databasetest.Open(t, database.Config{MySQLDSN: server.SocketDSN("shop")})
		exec(t, again, "UPDATE product_details SET quantity = quantity + 1 WHERE product_id = 'shoe'")
	})
}

func TestServer_putsItsDataBelowTheParent(t *testing.T) {
	t.Parallel()
	for _, flavour := range dbserver.Flavours() {
		t.Run(string(flavour), func(t *testing.T) {
			t.Parallel()
			parent, err := os.MkdirTemp("", "below-") // short, for the socket
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.Remove(parent); err != nil { // which must be empty by now
					t.Error(err)
				}
			})
			server := databasetest.StartServerIn(t, flavour, parent)
			if !strings.Contains(server.SocketDSN("shop"), parent) {
				t.Errorf("the server's socket is at %s, not below %s", server.SocketDSN("shop"), parent)
			}
		})
	}
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

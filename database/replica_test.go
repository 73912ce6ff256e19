package database_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"strings"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

// replication are the words of MySQL and MariaDB.
var replication = map[dbserver.Flavour]struct{ follow, delay, stop, start string }{
	dbserver.MySQL: {
		"CHANGE REPLICATION SOURCE TO SOURCE_HOST = '%s', SOURCE_PORT = %s, SOURCE_USER = 'root', GET_SOURCE_PUBLIC_KEY = 1",
		"CHANGE REPLICATION SOURCE TO SOURCE_DELAY = %d", "STOP REPLICA", "START REPLICA",
	},
	dbserver.MariaDB: {
		"CHANGE MASTER TO MASTER_HOST = '%s', MASTER_PORT = %s, MASTER_USER = 'root'",
		"CHANGE MASTER TO MASTER_DELAY = %d", "STOP SLAVE", "START SLAVE",
	},
}

func TestReadStale_readsAReplicaWhileItIsFresh(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		t.Parallel()
		source := databasetest.StartServerIn(t, flavour, "", "--server-id=1", "--log-bin=log", "--binlog-format=ROW")
		follower := databasetest.StartServerIn(t, flavour, "", "--server-id=2", "--log-bin=log", "--binlog-format=ROW")
		db := databasetest.Open(t, database.Config{MySQLDSN: source.TCPDSN("shop"), MySQLReadDSN: follower.TCPDSN("shop")})
		theirs, err := sql.Open("mysql", follower.TCPDSN("")+"?multiStatements=true")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = theirs.Close() }()
		words := replication[flavour]
		exec := func(server *sql.DB, statements ...string) {
			t.Helper()
			for _, statement := range statements {
				if _, err := server.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
		}
		// reads returns which server was read: each has a product that the other one has not.
		reads := func(read func(context.Context, func(*database.Tx) error) error) string {
			var ids []string
			if err := read(t.Context(), func(tx *database.Tx) error {
				ids = nil
				return tx.Select(t.Context(), &ids, "SELECT product_id FROM product_details WHERE product_id IN ('primary', 'replica')")
			}); err != nil {
				t.Errorf("read: %v", err)
			}
			return strings.Join(ids, " and ")
		}
		becomes := func(want, why string) {
			t.Helper()
			eventually(t, why+": the "+want+" is read", func() bool { return reads(db.ReadStale) == want })
			if got := reads(db.Read); got != "primary" {
				t.Errorf("%s: Read reads the %s", why, got)
			}
		}
		exec(db.Setup(), "SET sql_log_bin = 0; INSERT INTO product_details VALUES ('primary', '', 1); SET sql_log_bin = 1")
		becomes("primary", "it replicates nothing")
		host, port, _ := net.SplitHostPort(source.Address())
		exec(theirs, fmt.Sprintf(words.follow, host, port), words.start)
		eventually(t, "the tables are replicated", func() bool {
			_, err := theirs.ExecContext(t.Context(), "INSERT INTO shop.product_details VALUES ('replica', '', 1)")
			return err == nil
		})
		becomes("replica", "it replicates")
		exec(theirs, words.stop)
		becomes("primary", "it has stopped")
		exec(theirs, fmt.Sprintf(words.delay, 3600), words.start)
		store(t, db, "delayed")
		becomes("primary", "it is behind")
		exec(theirs, words.stop, fmt.Sprintf(words.delay, 0), words.start)
		becomes("replica", "it has caught up")
		exec(theirs, "RENAME TABLE shop.product_details TO shop.hidden")
		if got := reads(db.ReadStale); got != "primary" {
			t.Errorf("after an error of the replica the %s is read", got)
		}
		exec(theirs, "RENAME TABLE shop.hidden TO shop.product_details")
		becomes("replica", "it answers again")
		follower.Kill()
		becomes("primary", "it is gone")
	})
}

package database_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
)

// withParams returns the DSN with parameters as a hand might write them.
func withParams(dsn, params string) string {
	if strings.Contains(dsn, "?") {
		return dsn + "&" + params
	}
	return dsn + "?" + params
}

// variables reads session variables on a transaction's connection.
func variables(t *testing.T, tx *database.Tx) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, name := range []string{
		"sql_mode", "time_zone", "autocommit", "completion_type", "innodb_lock_wait_timeout", "lock_wait_timeout",
		"wait_timeout", "character_set_client", "character_set_connection", "character_set_results", "collation_connection",
	} {
		var value []string
		if err := tx.Select(t.Context(), &value, "SELECT CAST(@@SESSION."+name+" AS CHAR)"); err != nil {
			t.Fatal(err)
		}
		got[name] = value[0]
		if name == "autocommit" {
			got[name] = strings.NewReplacer("0", "OFF", "1", "ON").Replace(value[0])
		}
	}
	err := tx.Each(t.Context(), func(rows *sql.Rows) error {
		var name, value string
		err := rows.Scan(&name, &value)
		got["isolation"] = value
		return err
	}, "SHOW SESSION VARIABLES WHERE variable_name IN ('tx_isolation', 'transaction_isolation')")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestMySQL_setsWhatTheSQLReliesOn(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		hostile := withParams(dsn, strings.Join([]string{
			"parseTime=false", "loc=Data%2FThatNobodyHas", "clientFoundRows=false", "interpolateParams=false", "multiStatements=true",
			"allowAllFiles=true", "columnsWithAlias=true", "rejectReadOnly=true", "charset=latin1", "checkConnLiveness=false",
			"timeout=1h", "readTimeout=1h", "writeTimeout=1h",
			"sql_mode=''", "Time_Zone='%2B05:00'", "autocommit=1", "completion_type=2", "innodb_lock_wait_timeout=999",
			"lock_wait_timeout=999", "wait_timeout=999", "tx_isolation='SERIALIZABLE'", "transaction_isolation='SERIALIZABLE'",
			"character_set_results=latin1", "@@session.sql_select_limit=0", "sql_safe_updates=1", "sql_big_selects=0", "sql_auto_is_null=1",
		}, "&"))
		db := databasetest.Open(t, database.Config{MySQLDSN: hostile})

		want := map[string]string{
			"sql_mode":  "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
			"time_zone": "+00:00", "autocommit": "OFF", "completion_type": "NO_CHAIN", "isolation": "READ-COMMITTED",
			"innodb_lock_wait_timeout": "2", "lock_wait_timeout": "2", "wait_timeout": "30",
			"character_set_client": "utf8mb4", "character_set_connection": "utf8mb4", "character_set_results": "utf8mb4",
			"collation_connection": "utf8mb4_bin",
		}
		transact(t, db, func(tx *database.Tx) error {
			if diff := cmp.Diff(want, variables(t, tx)); diff != "" {
				t.Errorf("a writer's session (-want +got):\n%s", diff)
			}
			return nil
		})
		want["autocommit"] = "ON"
		if err := db.Read(t.Context(), func(tx *database.Tx) error {
			if diff := cmp.Diff(want, variables(t, tx)); diff != "" {
				t.Errorf("a reader's session (-want +got):\n%s", diff)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}

		store(t, db, "shoe")
		transact(t, db, func(tx *database.Tx) error {
			n, err := tx.Exec(t.Context(), "UPDATE product_details SET quantity = quantity WHERE product_id = ?", "shoe")
			if n != 1 {
				t.Errorf("an update that changes nothing found %d rows, want the one that is there", n)
			}
			return err
		})
		transact(t, db, func(tx *database.Tx) error {
			var rows []struct {
				ID string    `db:"product_id"`
				At time.Time `db:"at"`
			}
			err := tx.Select(t.Context(), &rows, "SELECT p.product_id, utc_timestamp(6) AS at FROM product_details p")
			if err != nil || len(rows) != 1 {
				return fmt.Errorf("%d rows: %w", len(rows), err)
			}
			if at := rows[0].At; at.Location() != time.UTC || time.Since(at).Abs() > time.Minute {
				t.Errorf("the time is read as %v, want UTC", at)
			}
			return nil
		})
	})
}

func TestMySQL_createsAMissingDatabase(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		for range 2 { // the second finds it
			db := open(t, database.Config{MySQLDSN: dsn})
			var characters, collation string
			if err := db.Setup().QueryRowContext(t.Context(), "SELECT default_character_set_name, default_collation_name"+
				" FROM information_schema.schemata WHERE schema_name = database()").Scan(&characters, &collation); err != nil {
				t.Fatal(err)
			}
			if characters != "utf8mb4" || collation != "utf8mb4_bin" {
				t.Errorf("the database has %s and %s, want utf8mb4 and utf8mb4_bin", characters, collation)
			}
		}
	})
}

func TestOpen_existingCreatesNothing(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		dir := filepath.Join(t.TempDir(), "data")
		_, err := opened(t, t.Context(), database.Config{DataDir: dir, Existing: true})
		if _, missing := os.Stat(dir); err == nil || !strings.Contains(err.Error(), dir) || !errors.Is(missing, os.ErrNotExist) {
			t.Errorf("the error does not name the directory, or it was created (%v): %v", missing, err)
		}
		for range 2 {
			_, err = opened(t, t.Context(), database.Config{MySQLDSN: dsn, Existing: true})
			var my *mysql.MySQLError
			if !errors.As(err, &my) || my.Number != 1049 {
				t.Errorf("got error %v, want an unknown database", err)
			}
		}
		open(t, database.Config{MySQLDSN: dsn})
		open(t, database.Config{MySQLDSN: dsn, Existing: true})
		open(t, database.Config{DataDir: dir})
		open(t, database.Config{DataDir: dir, Existing: true})
	})
}

func TestMySQL_waitsForAServerThatStarts(t *testing.T) {
	t.Parallel()
	databasetest.EachPrivateServer(t, func(t *testing.T, server *databasetest.Server) {
		server.Stop()
		var said recorder
		result := make(chan error, 1)
		var db *database.DB
		go func() {
			var err error
			db, err = database.Open(t.Context(), database.Config{MySQLDSN: server.TCPDSN("shop"), Log: said.log()})
			result <- err
		}()
		eventually(t, "a log line about the wait", func() bool { return said.says("waiting for the database") })
		server.Start(t)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		closed(t, db)
		if !said.says("created the database") {
			t.Error("the log does not say that the database was created")
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestMySQL_givesUpOnAServerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	_, err := opened(t, t.Context(), database.Config{
		MySQLDSN: "shop:secret@tcp(127.0.0.1:1)/shop", StartTimeout: 300 * time.Millisecond,
	})
	is(t, err, database.ErrUnavailable)
	for _, want := range []string{"127.0.0.1:1", "shop", "connection refused"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %q: %v", want, err)
		}
	}
	saysNoPassword(t, err)
}

func TestMySQL_contextEndsTheWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var said recorder
	result := make(chan error, 1)
	go func() {
		_, err := database.Open(ctx, database.Config{MySQLDSN: "shop:secret@tcp(127.0.0.1:1)/shop", Log: said.log()})
		result <- err
	}()
	eventually(t, "a log line about the wait", func() bool { return said.says("waiting for the database") })
	cancel()
	err := <-result
	is(t, err, context.Canceled)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("the error does not say what was waited for: %v", err)
	}
}

func saysNoPassword(t *testing.T, err error) {
	t.Helper()
	if err != nil && strings.Contains(err.Error(), "secret") {
		t.Errorf("the error tells the password: %v", err)
	}
}

func TestMySQL_wrongPasswordFailsAtOnce(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		settings, err := mysql.ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		settings.User, settings.Passwd = "nobody", "secret"
		var said recorder
		_, err = opened(t, t.Context(), database.Config{MySQLDSN: settings.FormatDSN(), Log: said.log()})
		var my *mysql.MySQLError
		if !errors.As(err, &my) || (my.Number != 1045 && my.Number != 1698) {
			t.Errorf("got error %v, want access denied", err)
		}
		if said.says("waiting") {
			t.Error("it was waited for something that does not pass")
		}
		saysNoPassword(t, err)
	})
}

func TestMySQL_wrongDSNNamesTheRightForm(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"shop", "user:secret@tcp(127.0.0.1:3306)", "user:secret@tcp(127.0.0.1:3306)/", "mysql://user:secret@127.0.0.1:3306/shop",
		"user:secret@udp(127.0.0.1:3306)/shop", "user:secret/shop", "user:secret(127.0.0.1)/shop", "user:secret@127.0.0.1:3306/shop",
		"user:secret@tcp(127.0.0.1:3306/shop", "user:secret@tcp(127.0.0.1)/shop?parseTime=perhaps",
	} {
		_, err := opened(t, t.Context(), database.Config{MySQLDSN: dsn, StartTimeout: time.Millisecond})
		if err == nil || !strings.Contains(err.Error(), "user:password@tcp(host:3306)/shop") {
			t.Errorf("%s: the error does not say how it should be: %v", dsn, err)
		}
		saysNoPassword(t, err)
	}
}

// A server of one's own, whose global settings may be changed.
func TestMySQL_serverOfItsOwn(t *testing.T) {
	t.Parallel()
	databasetest.EachPrivateServer(t, func(t *testing.T, server *databasetest.Server) {
		admin := databasetest.Open(t, database.Config{MySQLDSN: server.SocketDSN("shop")})
		execute(t, admin.Setup(),
			"CREATE USER shop@'%' IDENTIFIED BY 'secret'", "CREATE USER shop@localhost IDENTIFIED BY 'secret'",
			"GRANT ALL ON shop.* TO shop@'%'", "GRANT ALL ON shop.* TO shop@localhost")
		dsn := "shop:secret@tcp(" + server.Address() + ")/shop"

		t.Run("a socket is another way to the server", func(t *testing.T) { //nolint:paralleltest // the server's settings are shared
			store(t, admin, "by socket")
			socket := strings.TrimSuffix(strings.TrimPrefix(server.SocketDSN("shop"), "root@"), "/shop")
			if want := "mysql://" + socket + "/shop"; admin.Engine() != want {
				t.Errorf("the engine is called %s, want %s", admin.Engine(), want)
			}
		})

		t.Run("the engine's name holds no password", func(t *testing.T) { //nolint:paralleltest // likewise
			db := open(t, database.Config{MySQLDSN: dsn})
			if want := "mysql://" + server.Address() + "/shop"; db.Engine() != want {
				t.Errorf("the engine is called %s, want %s", db.Engine(), want)
			}
		})

		t.Run("a server that may forget commits is warned of", func(t *testing.T) { //nolint:paralleltest // likewise
			for value, warned := range map[int]bool{0: true, 1: false, 2: true} {
				execute(t, admin.Setup(), fmt.Sprintf("SET GLOBAL innodb_flush_log_at_trx_commit = %d", value))
				var said recorder
				open(t, database.Config{MySQLDSN: dsn, Log: said.log()})
				if got := said.says("innodb_flush_log_at_trx_commit is not 1"); got != warned {
					t.Errorf("at %d, warned: %v, want %v", value, got, warned)
				}
			}
			execute(t, admin.Setup(), "SET GLOBAL innodb_flush_log_at_trx_commit = 1")
		})

		t.Run("a server that became read-only refuses and nothing is half done", func(t *testing.T) { //nolint:paralleltest // likewise
			db := open(t, database.Config{MySQLDSN: dsn})
			for name, at := range map[string]int{"before": 0, "in the middle": 1, "before the commit": 2} {
				readOnly := func(step int) {
					if step == at {
						execute(t, admin.Setup(), "SET GLOBAL read_only = 1")
					}
				}
				attempts := 0
				err := db.Transact(t.Context(), func(tx *database.Tx) error {
					attempts++
					readOnly(0)
					if err := insert(t, tx, "hat", 1); err != nil {
						return err
					}
					readOnly(1)
					if err := insert(t, tx, "shoe", 1); err != nil {
						return err
					}
					readOnly(2)
					return nil
				}, nil)
				is(t, err, database.ErrUnavailable)
				isNot(t, err, database.ErrOutcomeUnknown)
				if attempts != 1 {
					t.Errorf("%s: the work ran %d times, want once", name, attempts)
				}
				isStored(t, db, "hat", false)
				isStored(t, db, "shoe", false)
				if stats := db.Stats(); stats.OpenConnections != 0 {
					t.Errorf("%s: %d connections to the server that refused stay open", name, stats.OpenConnections)
				}
				execute(t, admin.Setup(), "SET GLOBAL read_only = 0")
				isClean(t, db)
			}
		})

		t.Run("a commit that a backup's lock holds up is rolled back", func(t *testing.T) { //nolint:paralleltest // likewise
			db := open(t, database.Config{MySQLDSN: dsn})
			conn, err := admin.Setup().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			closed(t, conn)
			attempts := 0
			err = db.Transact(t.Context(), func(tx *database.Tx) error {
				attempts++
				if err := impatient(t, tx); err != nil {
					return err
				}
				if err := insert(t, tx, "hat", 1); err != nil {
					return err
				}
				if attempts == 1 {
					execute(t, conn, "FLUSH TABLES WITH READ LOCK")
				}
				return nil
			}, nil)
			is(t, err, database.ErrRowLocked)
			execute(t, conn, "UNLOCK TABLES")
			isStored(t, db, "hat", false)
			isClean(t, db)
		})

		t.Run("too many connections are a refusal", func(t *testing.T) { //nolint:paralleltest // likewise
			execute(t, admin.Setup(), "SET GLOBAL max_connections = 10")
			var used []*sql.Conn
			others, err := sql.Open("mysql", dsn)
			if err != nil {
				t.Fatal(err)
			}
			closed(t, others)
			db := open(t, database.Config{MySQLDSN: dsn})
			for err == nil {
				var conn *sql.Conn
				if conn, err = others.Conn(t.Context()); err == nil {
					used = append(used, conn)
				}
			}
			began, ran := time.Now(), false
			err = db.Transact(t.Context(), func(*database.Tx) error { ran = true; return nil }, nil)
			is(t, err, database.ErrUnavailable)
			var my *mysql.MySQLError
			if !errors.As(err, &my) || my.Number != 1040 {
				t.Errorf("got error %v, want too many connections", err)
			}
			if took := time.Since(began); ran || took > 3*time.Second {
				t.Errorf("the work ran: %v; the refusal took %v", ran, took)
			}
			for _, conn := range used {
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			}
			others.SetMaxIdleConns(0)
			eventually(t, "a free connection", func() bool {
				return db.Transact(t.Context(), func(*database.Tx) error { return nil }, nil) == nil
			})
			execute(t, admin.Setup(), "SET GLOBAL max_connections = 800")
		})
	})
}

func TestMySQL_refusesRollbackOnTimeout(t *testing.T) {
	t.Parallel()
	databasetest.EachPrivateServer(t, func(t *testing.T, server *databasetest.Server) {
		db, err := database.Open(t.Context(), database.Config{MySQLDSN: server.TCPDSN("shop")})
		if err == nil {
			t.Fatal(errors.Join(errors.New("it was opened"), db.Close()))
		}
		if !strings.Contains(err.Error(), "innodb_rollback_on_timeout is ON") {
			t.Errorf("got %v, want the setting's name", err)
		}
	}, "--innodb-rollback-on-timeout=ON")
}

// What a session leaves at DEFAULT is the server's global value, which can be anything.
func TestMySQL_globalSettingsDoNotMatter(t *testing.T) {
	t.Parallel()
	databasetest.EachPrivateServer(t, func(t *testing.T, server *databasetest.Server) {
		admin := open(t, database.Config{MySQLDSN: server.TCPDSN("shop")})
		for _, statement := range []string{
			"SET GLOBAL sql_select_limit = 10", "SET GLOBAL sql_safe_updates = 1", "SET GLOBAL max_join_size = 5",
			"SET GLOBAL sql_auto_is_null = 1", "SET GLOBAL sql_mode = ''", "SET GLOBAL completion_type = 2", "SET GLOBAL autocommit = 0",
			"SET GLOBAL transaction_read_only = 1", "SET GLOBAL innodb_snapshot_isolation = 1",
		} {
			if _, err := admin.Setup().ExecContext(t.Context(), statement); err != nil && !strings.Contains(err.Error(), "1193") { // unknown variable
				t.Fatalf("%s: %v", statement, err)
			}
		}
		db := databasetest.Open(t, database.Config{MySQLDSN: server.TCPDSN("shop")})
		for i := range 30 {
			store(t, db, fmt.Sprintf("shoe %d", i))
		}
		var found int
		count := func(tx *database.Tx) error {
			return tx.Each(t.Context(), func(*sql.Rows) error { found++; return nil }, "SELECT product_id FROM product_details p")
		}
		for name, read := range map[string]func() error{
			"read": func() error { return db.Read(t.Context(), count) }, "snapshot": func() error { return db.Snapshot(t.Context(), count) },
			"transaction": func() error {
				return db.Transact(t.Context(), func(tx *database.Tx) error {
					if _, err := tx.Exec(t.Context(), "UPDATE product_details SET quantity = quantity + 1"); err != nil {
						return err
					}
					return count(tx)
				}, nil)
			},
		} {
			if found = 0; read() != nil || found != 30 {
				t.Errorf("a %s found %d of 30 products: %v", name, found, read())
			}
		}
		transact(t, db, func(tx *database.Tx) error {
			return tx.Each(t.Context(), func(rows *sql.Rows) error { // MariaDB alone has it
				var name, value string
				err := rows.Scan(&name, &value)
				if value != "OFF" {
					t.Errorf("%s is %s", name, value)
				}
				return err
			}, "SHOW SESSION VARIABLES LIKE 'innodb_snapshot_isolation'")
		})
	})
}

func TestMySQL_refusesStatementBinaryLog(t *testing.T) {
	t.Parallel()
	databasetest.EachPrivateServer(t, func(t *testing.T, server *databasetest.Server) {
		db, err := database.Open(t.Context(), database.Config{MySQLDSN: server.TCPDSN("shop")})
		if err == nil {
			t.Fatal(errors.Join(errors.New("it was opened"), db.Close()))
		}
		if !strings.Contains(err.Error(), "binlog_format is STATEMENT") {
			t.Errorf("got %v, want the setting's name", err)
		}
	}, "--log-bin=bin", "--binlog-format=STATEMENT", "--server-id=1")
}

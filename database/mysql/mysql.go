// Package mysql opens a MySQL-protocol server for the database package: MySQL 8 and later, MariaDB
// 10.6 and later.
package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"

	"cartwheel/database/engine"
)

const (
	// These are how many connections one instance opens at most: a batch at a time for each queue's
	// worker, few readers, an audit or two, and migrations.
	writeConnections    = 16
	readConnections     = 8
	snapshotConnections = 2
	setupConnections    = 2
	// maxPrepared is the maximum number of prepared statements per connection. A server has 16,382
	// by default for all connections of all its programs.
	maxPrepared = 256
	// LockWait is how long a statement waits for a row, or a table, that another session has
	// locked.
	LockWait = 2 * time.Second
	// ioTimeout bounds one read from or write to the server. It must exceed LockWait.
	ioTimeout = 5 * time.Second
	// snapshotSilence is ioTimeout for the statements of a snapshot, which may read whole tables.
	snapshotSilence = time.Minute
	// dialTimeout bounds the connection's start.
	dialTimeout = 3 * time.Second
	// connectionLifetime is below what proxies and servers cut at (five minutes is usual), so that
	// we are first.
	connectionLifetime = 4 * time.Minute
	// serverWait is after how long without a statement the server gives a session up. A session
	// whose client vanished in the middle of a transaction keeps its row locks until then.
	serverWait = 30 * time.Second
	// connectionIdle must be below serverWait: we close first.
	connectionIdle = 20 * time.Second
)

// Open opens the server of cfg.MySQLDSN. It blocks while the server is starting.
func Open(ctx context.Context, cfg engine.Config) (*engine.Engine, error) {
	settings, err := parse(cfg.MySQLDSN, cfg.Log)
	if err != nil {
		return nil, err
	}
	server, err := awaitServer(ctx, cfg, settings)
	if err != nil {
		return nil, err
	}
	if err := server.check(cfg.Log); err != nil {
		return nil, err
	}
	// Writers leave autocommit off: the first statement begins the transaction, which saves a round
	// trip.
	writes := pool(settings, writeConnections, "READ WRITE", server, "autocommit = 0")
	reads := pool(settings, readConnections, "READ ONLY", server)
	// An audit adds up whole tables.
	patient := settings.Clone()
	patient.ReadTimeout = snapshotSilence
	snapshots := pool(patient, snapshotConnections, "READ ONLY", server)
	// An ALTER of a large adopted table takes as long as it takes.
	patient.ReadTimeout = 0
	setup := pool(patient, setupConnections, "READ WRITE", server, "lock_wait_timeout = 60", "wait_timeout = 3600")
	e := &engine.Engine{
		Dialect:   server.dialect(),
		Clustered: server.isClustered(),
		Location:  "mysql://" + place(settings) + "/" + settings.DBName,
		Writes:    writes,
		Reads:     reads,
		Snapshots: snapshots,
		Setup:     setup.DB,
		BeginSnapshot: []string{
			"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
			"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
		},
		Ended: func(_ *sqlx.Conn, _ error, broken bool) {
			if !broken {
				return
			}
			// The server may have gone away, or have become a replica: its successor needs new
			// connections, those that read as well.
			for _, db := range []*sqlx.DB{writes, reads, snapshots} {
				db.SetMaxIdleConns(0)
				db.SetMaxIdleConns(db.Stats().MaxOpenConnections)
			}
		},
	}
	for _, db := range []*sqlx.DB{writes, reads, snapshots, setup} {
		// An error says only that the server was first to end the connection.
		e.Closers = append(e.Closers, func() error { _ = db.Close(); return nil })
	}
	return e, nil
}

// expectedDSN is the form that errors ask for. What was given instead is not repeated: it may hold
// a password.
const expectedDSN = "user:password@tcp(host:3306)/shop or user:password@unix(/path/to/socket)/shop"

// timeZone is a DSN's time zone. Connections have UTC, and a machine may lack the data of others.
var timeZone = regexp.MustCompile(`([?&])loc=[^&]*`)

// parse reads a DSN and pins its settings.
func parse(dsn string, log *slog.Logger) (*mysql.Config, error) {
	parameters := strings.LastIndexByte(dsn, '/') + 1 // a password may have anything
	settings, err := mysql.ParseDSN(dsn[:parameters] + timeZone.ReplaceAllString(dsn[parameters:], "$1"))
	switch {
	case err != nil && strings.Contains(err.Error(), "network"): // its text may have the password
		return nil, errors.New("the MySQL DSN is not of the form " + expectedDSN)
	case err != nil:
		return nil, fmt.Errorf("the MySQL DSN is not of the form %s: %w", expectedDSN, err)
	case settings.Net != "tcp" && settings.Net != "unix":
		return nil, errors.New("the MySQL DSN has a network that is neither tcp nor unix; expected " + expectedDSN)
	case settings.DBName == "":
		return nil, errors.New("the MySQL DSN names no database; expected " + expectedDSN)
	}
	return settings, pin(settings, log)
}

// place says where the server is, for people.
func place(c *mysql.Config) string {
	if c.Net == "unix" {
		return "unix(" + c.Addr + ")"
	}
	return c.Addr
}

// pin sets what our SQL relies on, whatever the DSN says.
func pin(c *mysql.Config, log *slog.Logger) error {
	c.InterpolateParams = true // one round trip a statement
	c.ParseTime = true
	c.Loc = time.UTC
	c.ClientFoundRows = true // RowsAffected counts matched rows: it tells whether a state was as expected
	c.MultiStatements = true // in one round trip: see Batch
	c.AllowAllFiles = false
	c.ColumnsWithAlias = false // sqlx finds fields by the columns' bare names
	c.RejectReadOnly = false   // we read 1290 ourselves, after a COMMIT too
	c.Timeout = dialTimeout
	c.ReadTimeout = ioTimeout
	c.WriteTimeout = ioTimeout
	c.CheckConnLiveness = true
	driverLog := slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	driverLog.SetPrefix("mysql driver: ")
	c.Logger = driverLog
	for name := range c.Params {
		// MySQL and MariaDB name the isolation level's variable differently, and each refuses the
		// other's name. A character set of its own would keep IDs from being compared as they are.
		for _, ours := range []string{"tx_isolation", "transaction_isolation", "character_set", "collation"} {
			if strings.Contains(strings.ToLower(name), ours) {
				delete(c.Params, name)
			}
		}
	}
	if err := c.Apply(mysql.Charset("utf8mb4", "utf8mb4_bin")); err != nil {
		return fmt.Errorf("set the connection's character set: %w", err)
	}
	return nil
}

// sessionSettings are set on each connection after the DSN's own, so that these hold, however those
// are spelled.
func sessionSettings(server variables) []string {
	settings := []string{
		"sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'",
		"time_zone = '+00:00'",
		"autocommit = 1",
		"completion_type = 0", // COMMIT neither begins the next transaction nor ends the session
		// DEFAULT would be the server's global value, which can be anything. These are the built-in
		// ones.
		"sql_select_limit = 18446744073709551615",
		"sql_big_selects = 1",
		"sql_safe_updates = 0", // our UPDATEs and DELETEs join lists of keys
		"sql_auto_is_null = 0",
		"foreign_key_checks = 1",
		"unique_checks = 1",
		fmt.Sprintf("innodb_lock_wait_timeout = %d", int(LockWait.Seconds())),
		// Of tables that an ALTER or a backup has locked. The default is a day, and the server's
		// session waits on when its client has long given up.
		fmt.Sprintf("lock_wait_timeout = %d", int(LockWait.Seconds())),
		fmt.Sprintf("wait_timeout = %d", int(serverWait.Seconds())),
	}
	if _, known := server["innodb_snapshot_isolation"]; known {
		// On by default from MariaDB 11.6 on: a row that changes while a statement waits for it is
		// an error (1020) then, which retries the batch.
		settings = append(settings, "innodb_snapshot_isolation = 0")
	}
	return settings
}

// pool opens a pool of READ COMMITTED connections with sessionSettings, which other settings may
// follow. access is READ WRITE or READ ONLY: the server's default may be either. Each connection
// begins with the server's causal read, if any. An unknown server has no variables.
func pool(settings *mysql.Config, connections int, access string, server variables, other ...string) *sqlx.DB {
	inner, err := mysql.NewConnector(settings)
	if err != nil {
		panic(err) // never: parse has read the settings
	}
	statements := []string{
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, " + access,
		"SET " + strings.Join(append(sessionSettings(server), other...), ", "),
	}
	if causal := server.causalRead(); causal != "" {
		statements = append(statements, causal)
	}
	db := sql.OpenDB(engine.CachingConnector{
		Connector: inner, Settings: statements, MaxPrepared: maxPrepared, Fault: Fault,
	})
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections) // fewer would open and close connections under load
	db.SetConnMaxLifetime(connectionLifetime)
	db.SetConnMaxIdleTime(connectionIdle)
	return sqlx.NewDb(db, "mysql")
}

// awaitServer waits for a server that is starting, and creates the database when it is not there.
// It returns the server's variables.
func awaitServer(ctx context.Context, cfg engine.Config, settings *mysql.Config) (variables, error) {
	waiting := backoff.NewExponentialBackOff()
	waiting.InitialInterval = 100 * time.Millisecond
	waiting.MaxInterval = 2 * time.Second
	var last error // that was waited for
	try := func() (variables, error) {
		server, err := readVariables(ctx, settings)
		if isMissing(err) && !cfg.Existing {
			if err = createDatabase(ctx, settings); err == nil {
				cfg.Log.Info("created the database", "database", settings.DBName)
				server, err = readVariables(ctx, settings)
			}
		}
		if err != nil && !mayPass(err) {
			return nil, backoff.Permanent(err)
		}
		return server, err
	}
	server, err := backoff.Retry(ctx, try,
		backoff.WithBackOff(waiting),
		backoff.WithMaxElapsedTime(cfg.StartTimeout),
		backoff.WithNotify(func(err error, next time.Duration) {
			last = err
			cfg.Log.Warn("waiting for the database", "address", place(settings),
				"retry_in", next.Round(time.Millisecond), "error", err)
		}))
	switch {
	case err == nil:
		return server, nil
	case isMissing(err):
		return nil, fmt.Errorf("%w: start the server first, or import stock: %w", engine.ErrNoData, err)
	case ctx.Err() != nil && last != nil:
		err = fmt.Errorf("%w while waiting: %w", err, last)
	}
	if advice := adviceOn(err); advice != "" {
		err = fmt.Errorf("%w (%s)", err, advice)
	}
	return nil, fmt.Errorf("%w: %s at %s: %w", engine.ErrUnavailable, settings.DBName, place(settings), err)
}

// isMissing reports whether the server has no database of that name.
func isMissing(err error) bool {
	my, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && my.Number == 1049 // ER_BAD_DB_ERROR
}

// mayPass reports whether waiting could help: the server is not there yet, or is busy.
func mayPass(err error) bool {
	fault, _ := Fault(err) // a name that is not found counts: a container's may come later
	return fault.Outage() && !isMissing(err)
}

func createDatabase(ctx context.Context, settings *mysql.Config) (err error) {
	server := settings.Clone()
	server.DBName = ""
	db := pool(server, 1, "READ WRITE", nil)
	defer func() { err = errors.Join(err, db.Close()) }()
	name := "`" + strings.ReplaceAll(settings.DBName, "`", "``") + "`"
	_, err = db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+name+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	return err
}

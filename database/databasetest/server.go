package databasetest

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cartwheel/database/databasetest/dbserver"
)

// dropTimeout is the maximum time to drop a test's database.
const dropTimeout = 30 * time.Second

// shared are the test binary's own servers, each started by the first test that needs it.
var shared = map[dbserver.Flavour]*sharedServer{
	dbserver.MariaDB: {flavour: dbserver.MariaDB, variable: "TEST_MARIADB_DSN"},
	dbserver.MySQL:   {flavour: dbserver.MySQL, variable: "TEST_MYSQL_DSN"},
}

type sharedServer struct {
	flavour  dbserver.Flavour
	variable string // the environment variable whose DSN replaces the server

	once   sync.Once
	server *dbserver.Server // written under once, then only read
	err    error            // likewise
	told   atomic.Bool
}

func (s *sharedServer) dsn(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv(s.variable); dsn != "" {
		return dsn
	}
	s.once.Do(func() {
		// No test that shares a server cuts its power: it need not wait for the disk.
		s.server, s.err = dbserver.New(dbserver.Config{Flavour: s.flavour, Options: []string{"--innodb-flush-method=nosync"}})
		if s.err == nil {
			if s.err = s.server.Start(); s.err != nil {
				s.server.Remove()
			}
		}
	})
	if s.err != nil && !errors.Is(s.err, dbserver.ErrNotInstalled) && s.told.Swap(true) {
		t.Fatalf("the %s server did not start: another test's output says why", s.flavour)
	}
	requireServer(t, s.err)
	return s.server.SocketDSN("")
}

func (s *sharedServer) stop() {
	s.once.Do(func() {}) // after this nothing starts it
	if s.server != nil {
		s.server.Remove()
	}
}

// requireServer ends a test that has no server. The test is skipped where none is installed, and
// fails where CI is set.
func requireServer(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, dbserver.ErrNotInstalled):
		SkipUnlessCI(t, err.Error())
	case err != nil:
		t.Fatal(err)
	}
}

// A Server is a private server of one test.
type Server struct{ *dbserver.Server }

// EachPrivateServer runs a test on a private MariaDB and a private MySQL, as the subtests "mariadb"
// and "mysql". Options are the server's, as for StartServer.
func EachPrivateServer(t *testing.T, test func(t *testing.T, server *Server), options ...string) {
	t.Helper()
	for _, flavour := range dbserver.Flavours() {
		t.Run(string(flavour), func(t *testing.T) { test(t, StartServerIn(t, flavour, "", options...)) })
	}
}

// StartServer starts a MariaDB that belongs to the test alone, reachable by socket and TCP. It
// serves tests that kill it, or put a proxy between. Options are the server's, such as
// "--innodb-rollback-on-timeout=ON". It is removed after the test. Without an installed server the
// test is skipped, or fails where CI is set.
func StartServer(t testing.TB, options ...string) *Server {
	t.Helper()
	return StartServerIn(t, dbserver.MariaDB, "", options...)
}

// StartServerIn is StartServer for any flavour, with the data below the parent directory, such as a
// disk of its own. The directory's path must be short, because the server's socket is there too.
func StartServerIn(t testing.TB, flavour dbserver.Flavour, parent string, options ...string) *Server {
	t.Helper()
	server, err := dbserver.New(dbserver.Config{Flavour: flavour, Parent: parent, TCP: true, Options: options})
	requireServer(t, err)
	t.Cleanup(server.Remove)
	s := &Server{server}
	s.Start(t)
	return s
}

// Start starts the server after Kill or Stop, or when it ended by itself, on the same data and
// addresses, and waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.Server.Start(); err != nil {
		t.Fatal(err)
	}
}

// freshDatabase returns the DSN with a name that no database has, and drops it after the test.
func freshDatabase(t testing.TB, dsn string) string {
	t.Helper()
	settings, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatalf("the test server's DSN: %v", err)
	}
	server := settings.Clone()
	server.DBName = ""
	settings.DBName = uniqueName(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
		defer cancel()
		if err := dropDatabase(ctx, server, settings.DBName); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return settings.FormatDSN()
}

func dropDatabase(ctx context.Context, server *mysql.Config, name string) (err error) {
	connector, err := mysql.NewConnector(server)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, "DROP DATABASE IF EXISTS `"+name+"`")
	return err
}

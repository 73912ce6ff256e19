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

	"cartwheel/database/databasetest/mariadb"
)

// dropTimeout bounds dropping a test's database.
const dropTimeout = 30 * time.Second

// AsMySQL8Option makes a MariaDB call itself MySQL 8, by which Cartwheel knows what it may send.
const AsMySQL8Option = "--version=8.0.36"

// shared and sharedAsMySQL8 are the test binary's own servers, each started by the first test that needs it.
var (
	shared         sharedServer
	sharedAsMySQL8 = sharedServer{options: []string{AsMySQL8Option}}
)

type sharedServer struct {
	options []string // mariadbd's

	once   sync.Once
	server *mariadb.Server // written under once, then only read
	err    error           // likewise
	told   atomic.Bool
}

func (s *sharedServer) dsn(t testing.TB) string {
	t.Helper()
	s.once.Do(func() {
		s.server, s.err = mariadb.New(mariadb.Config{Options: s.options})
		if s.err == nil {
			if s.err = s.server.Start(); s.err != nil {
				s.server.Remove()
			}
		}
	})
	if s.err != nil && !errors.Is(s.err, mariadb.ErrNone) && s.told.Swap(true) {
		t.Fatal("the MySQL server did not start: another test's output says why")
	}
	giveUpOn(t, s.err)
	return s.server.SocketDSN("")
}

func (s *sharedServer) stop() {
	s.once.Do(func() {}) // after this nothing starts it
	if s.server != nil {
		s.server.Remove()
	}
}

// giveUpOn ends a test that can have no server: it is skipped where MariaDB is missing, and fails where CI is set.
func giveUpOn(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, mariadb.ErrNone) && os.Getenv("CI") == "":
		t.Skipf("%v, or name a server in TEST_MYSQL_DSN", err)
	case err != nil:
		t.Fatal(err)
	}
}

// A Server is a private MariaDB of the test's own.
type Server struct{ *mariadb.Server }

// StartServer starts a server that belongs to the test alone, reachable by socket and TCP: for tests that kill it,
// or put something between. options are mariadbd's, such as "--innodb-rollback-on-timeout=ON". It is stopped and removed
// after the test. Without MariaDB the test is skipped, or fails where CI is set.
func StartServer(t testing.TB, options ...string) *Server {
	t.Helper()
	return StartServerIn(t, "", options...)
}

// StartServerIn is StartServer with the data directory below the one given, on a disk of its own perhaps. Its path must be
// short, because the server's socket is there too.
func StartServerIn(t testing.TB, parent string, options ...string) *Server {
	t.Helper()
	server, err := mariadb.New(mariadb.Config{Parent: parent, TCP: true, Options: options})
	giveUpOn(t, err)
	t.Cleanup(server.Remove)
	s := &Server{server}
	s.Start(t)
	return s
}

// Start starts the server after Kill or Stop, or when it ended by itself, on the same data and addresses, and waits until it answers.
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

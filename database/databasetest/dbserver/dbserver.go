// Package dbserver starts private, temporary MariaDB and MySQL servers for tests and measurements.
package dbserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	// startTimeout is the maximum time of a server's start, with the creation of its data
	// directory, on a busy machine.
	startTimeout = 2 * time.Minute
	// stopTimeout is the maximum time of a shutdown. A server that takes longer is killed.
	stopTimeout = 30 * time.Second
	// pollPause is the interval between two connection attempts to a server that starts.
	pollPause = 5 * time.Millisecond
)

// ErrNotInstalled means that this machine has no server of the flavour to start.
var ErrNotInstalled = errors.New("not installed here")

// A Flavour is a program that speaks the MySQL protocol.
type Flavour string

// The flavours. MySQL is version 8 or later; its default configuration writes and syncs a binary
// log.
const (
	MariaDB Flavour = "mariadb"
	MySQL   Flavour = "mysql"
)

// Flavours are all of them.
func Flavours() []Flavour { return []Flavour{MariaDB, MySQL} }

// Config says how a server runs.
type Config struct {
	Flavour Flavour
	Binary  string   // MariaDB only: the mariadbd, with mariadb-install-db beside it; empty: the one that is found
	Parent  string   // the directory below which its data is; empty: the default for temporary files
	TCP     bool     // it listens on 127.0.0.1 as well; otherwise on its Unix socket only
	Options []string // the server's, such as "--innodb-rollback-on-timeout=ON"; they override what is set here
}

// A Server is a private, temporary server: its own data directory, durable commits, little memory,
// and the compiled-in defaults for everything else. It ends with the process that started it, even
// when that is killed. Its methods are not safe for concurrent use.
type Server struct {
	flavour   Flavour
	binary    string
	installer string // MariaDB's; MySQL initialises its data directory itself
	dir       string
	port      int // 0: no TCP
	options   []string
	process   *exec.Cmd
	exited    chan struct{} // closed once the process is gone
	watchdog  *exec.Cmd
	alive     io.Closer // the watchdog's sign that we live
}

// SocketDSN returns the DSN of a database on the server, through its Unix socket.
func (s *Server) SocketDSN(database string) string {
	return fmt.Sprintf("root@unix(%s)/%s", s.socket(), database)
}

// TCPDSN returns the DSN of a database on the server, through TCP.
func (s *Server) TCPDSN(database string) string {
	return fmt.Sprintf("root@tcp(%s)/%s", s.Address(), database)
}

// Address is where the server listens for TCP. It stays the same when the server is started again.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// PID is the running server's process.
func (s *Server) PID() int { return s.process.Process.Pid }

// Flavour returns which program it is.
func (s *Server) Flavour() Flavour { return s.flavour }

// Gone reports whether the server has ended, by Kill, Stop or itself.
func (s *Server) Gone() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// Log returns what the server has logged.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Kill ends the server as a crash would (SIGKILL) and waits until it is gone.
func (s *Server) Kill() {
	_ = s.process.Process.Kill() // it may be gone already
	<-s.exited
	s.stopWatchdog()
}

// Stop shuts the server down as an operator would and waits until it is gone.
func (s *Server) Stop() {
	_ = terminate(s.process.Process)
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
		_ = s.process.Process.Kill()
		<-s.exited
	}
	s.stopWatchdog()
}

// New returns a server that Start starts and Remove removes. Its error is ErrNotInstalled where
// there is none of the flavour.
func New(cfg Config) (s *Server, err error) {
	s = &Server{flavour: cfg.Flavour, options: cfg.Options}
	switch {
	case cfg.Flavour == MySQL:
		s.binary, err = findMySQL()
	case cfg.Binary != "":
		s.binary, s.installer, err = beside(cfg.Binary)
	default:
		s.binary, s.installer, err = findMariaDB()
	}
	if err != nil {
		return nil, err
	}
	// Short: a socket's path may have about a hundred characters.
	if s.dir, err = os.MkdirTemp(cfg.Parent, "cartwheel-db-"); err != nil {
		return nil, err
	}
	if cfg.TCP {
		if s.port, err = freePort(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(s.dir))
		}
	}
	return s, nil
}

func freePort() (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

func (s *Server) data() string    { return filepath.Join(s.dir, "data") }
func (s *Server) socket() string  { return filepath.Join(s.dir, "sock") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// initialize creates the data directory, with a root user who needs no password.
func (s *Server) initialize(ctx context.Context) error {
	program, arguments := s.installer, append(s.common(), "--innodb-flush-method=nosync")
	if s.flavour == MySQL {
		// Without name resolution a connection by TCP does not come from localhost.
		statements := filepath.Join(s.dir, "init.sql")
		err := os.WriteFile(statements, []byte("CREATE USER root@'127.0.0.1'; GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"), 0o600)
		if err != nil {
			return err
		}
		program = s.binary
		arguments = append(arguments, "--initialize-insecure", "--init-file="+statements)
	} else {
		arguments = append(arguments, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
	}
	if output, err := exec.CommandContext(ctx, program, arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, output)
	}
	return nil
}

// common are the settings of initialisation and of the server alike.
func (s *Server) common() []string {
	settings := []string{
		"--no-defaults", // must be the first
		"--datadir=" + s.data(),
		// A server that starts removes all temporary tables from this directory, also those of
		// another server.
		"--tmpdir=" + s.dir,
		"--innodb-buffer-pool-size=64M",
	}
	if s.flavour == MySQL {
		settings = append(settings, "--innodb-redo-log-capacity=64M", "--mysqlx=OFF", "--secure-file-priv=NULL")
	} else {
		settings = append(settings, "--innodb-log-file-size=32M")
	}
	if os.Geteuid() == 0 {
		settings = append(settings, "--user=root")
	}
	return settings
}

// settings are those of the running server.
func (s *Server) settings() []string {
	settings := append(s.common(),
		"--socket="+s.socket(),
		"--pid-file="+filepath.Join(s.dir, "pid"),
		"--max-connections=800",
		"--innodb-flush-log-at-trx-commit=1", // as durable as a shop's server
		"--innodb-fast-shutdown=1",
		"--innodb-buffer-pool-dump-at-shutdown=0",
		"--innodb-buffer-pool-load-at-startup=0",
		"--skip-name-resolve",
	)
	if s.flavour == MariaDB {
		settings = append(settings, "--performance-schema=0")
	}
	if s.port == 0 {
		settings = append(settings, "--skip-networking")
	} else {
		settings = append(settings, "--bind-address=127.0.0.1", "--port="+strconv.Itoa(s.port))
	}
	return append(settings, s.options...)
}

// Start starts the server, also after Kill or Stop or when it ended by itself, on the same data and
// addresses, and waits until it answers.
func (s *Server) Start() error {
	s.stopWatchdog() // of a server that ended by itself
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := os.Stat(s.data()); errors.Is(err, os.ErrNotExist) {
		if err := s.initialize(ctx); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.process = exec.CommandContext(context.Background(), s.binary, s.settings()...)
	s.process.Stdout, s.process.Stderr = log, log
	err = errors.Join(s.process.Start(), log.Close()) // the server has a handle of its own
	if err != nil {
		return fmt.Errorf("start %s: %w", s.binary, err)
	}
	s.exited = make(chan struct{})
	go func(process *exec.Cmd, exited chan struct{}) {
		_ = process.Wait() // how it ended stands in its log
		close(exited)
	}(s.process, s.exited)
	if err := s.startWatchdog(); err != nil {
		s.Kill()
		return err
	}
	if err := s.await(ctx); err != nil {
		s.Kill()
		return fmt.Errorf("%s does not answer: %w; its log:\n%s", s.binary, err, s.Log())
	}
	return nil
}

// await waits until the server answers.
func (s *Server) await(ctx context.Context) error {
	dsn := s.SocketDSN("")
	if s.port != 0 {
		dsn = s.TCPDSN("")
	}
	settings, err := mysql.ParseDSN(dsn)
	if err != nil {
		return err
	}
	settings.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(settings)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return db.Close()
		}
		select {
		case <-s.exited:
			return errors.Join(errors.New("it exited"), db.Close())
		case <-ctx.Done():
			return errors.Join(err, db.Close())
		case <-time.After(pollPause):
		}
	}
}

// startWatchdog starts a shell that outlives this process only to kill the server and remove its
// files: the pipe that it reads closes when this process is gone, in whatever way.
func (s *Server) startWatchdog() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	const script = `trap '' INT TERM HUP; cat >/dev/null; kill -9 "$1"; rm -rf "$2"`
	s.watchdog = exec.CommandContext(context.Background(), "sh", "-c", script, "watchdog", strconv.Itoa(s.PID()), s.dir)
	s.watchdog.Stdin = read
	if err := errors.Join(s.watchdog.Start(), read.Close()); err != nil {
		return fmt.Errorf("start the watchdog: %w", errors.Join(err, write.Close()))
	}
	s.alive = write
	return nil
}

// stopWatchdog ends the watchdog before the server's process ID can belong to someone else.
func (s *Server) stopWatchdog() {
	if s.alive == nil {
		return
	}
	_ = s.watchdog.Process.Kill()
	_ = s.watchdog.Wait() // killed, as it says
	_ = s.alive.Close()
	s.alive = nil
}

// Remove kills the server and removes its files.
func (s *Server) Remove() {
	if s.process != nil && s.process.Process != nil {
		s.Kill()
	}
	_ = os.RemoveAll(s.dir) // what cannot be removed is a temporary directory of ours
}

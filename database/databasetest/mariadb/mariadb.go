// Package mariadb starts private throw-away MariaDB servers: for tests, and for measurements.
package mariadb

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
	// startTimeout bounds a server's start, the making of its data directory included.
	startTimeout = time.Minute
	// stopTimeout is how long a server may take to shut down before it is killed.
	stopTimeout = 30 * time.Second
	// pollPause is the pause between two looks at whether the server answers.
	pollPause = 5 * time.Millisecond
)

// ErrNone means that this machine has no MariaDB to start.
var ErrNone = errors.New("no MariaDB here: install it (Debian: apt-get install mariadb-server, macOS: brew install mariadb)")

// Config says how a server is to run.
type Config struct {
	Parent  string   // the directory below which its data is; empty: the temporary one
	TCP     bool     // it listens on 127.0.0.1, too; else on its socket alone
	Options []string // mariadbd's, such as "--innodb-rollback-on-timeout=ON"; they beat what is set here
}

// A Server is a private throw-away mariadbd: a data directory of its own, durable commits, little memory, the compiled-in
// defaults for all else. It dies with the process that started it, even with one that is killed. Its methods are not
// safe for concurrent use.
type Server struct {
	binary, installer string
	dir               string
	port              int // 0: no TCP
	options           []string
	process           *exec.Cmd
	exited            chan struct{} // closed once the process is gone
	watchdog          *exec.Cmd
	alive             io.Closer // the watchdog's sign that we live
}

// SocketDSN returns the DSN of a database on the server, by way of its Unix socket.
func (s *Server) SocketDSN(database string) string {
	return fmt.Sprintf("root@unix(%s)/%s", s.socket(), database)
}

// TCPDSN returns the DSN of a database on the server, by way of TCP.
func (s *Server) TCPDSN(database string) string {
	return fmt.Sprintf("root@tcp(%s)/%s", s.Address(), database)
}

// Address is where the server listens for TCP. It stays the same when the server is started again.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// PID is the running server's process.
func (s *Server) PID() int { return s.process.Process.Pid }

// Gone reports whether the server has ended, be it by itself.
func (s *Server) Gone() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// Said returns the server's log.
func (s *Server) Said() string {
	said, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(said)
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

// New returns a server that Start starts and Remove removes. It returns ErrNone where there is no MariaDB.
func New(cfg Config) (s *Server, err error) {
	s = &Server{options: cfg.Options}
	if s.binary, err = find("mariadbd", "mysqld"); err != nil {
		return nil, err
	}
	if s.installer, err = find("mariadb-install-db", "mysql_install_db"); err != nil {
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

// find looks for a program under its names, also where servers are kept out of people's PATH.
func find(names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
		for _, folder := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/mysql/bin", "/opt/homebrew/bin", "/usr/local/bin"} {
			if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%w (looked for %v)", ErrNone, names)
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

// common are the settings of the making of the data directory and of the server alike.
func (s *Server) common() []string {
	settings := []string{
		"--no-defaults", // must be the first
		"--datadir=" + s.data(),
		// A server that starts removes all temporary tables from its directory: a shared one would be others' too.
		"--tmpdir=" + s.dir,
		"--innodb-log-file-size=32M",
		"--innodb-buffer-pool-size=64M",
	}
	if os.Geteuid() == 0 {
		settings = append(settings, "--user=root")
	}
	return settings
}

// Start starts the server, also after Kill or Stop or when it ended by itself, on the same data and addresses, and waits until it answers.
func (s *Server) Start() error {
	s.stopWatchdog() // of a server that ended by itself
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := os.Stat(s.data()); errors.Is(err, os.ErrNotExist) {
		install := exec.CommandContext(ctx, s.installer, append(s.common(), //nolint:gosec // found above
			"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")...)
		if output, err := install.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", s.installer, err, output)
		}
	}
	settings := append(s.common(),
		"--socket="+s.socket(),
		"--pid-file="+filepath.Join(s.dir, "pid"),
		"--max-connections=800",
		"--innodb-flush-log-at-trx-commit=1", // as durable as the server that a shop has
		"--innodb-fast-shutdown=1",
		"--innodb-buffer-pool-dump-at-shutdown=0",
		"--innodb-buffer-pool-load-at-startup=0",
		"--performance-schema=0",
		"--skip-name-resolve",
	)
	if s.port == 0 {
		settings = append(settings, "--skip-networking")
	} else {
		settings = append(settings, "--bind-address=127.0.0.1", "--port="+strconv.Itoa(s.port))
	}
	settings = append(settings, s.options...)
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.process = exec.CommandContext(context.Background(), s.binary, settings...) //nolint:gosec // found above
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
		return fmt.Errorf("%s does not answer: %w; its log:\n%s", s.binary, err, s.Said())
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

// startWatchdog starts a shell that outlives this process only to kill the server and remove its files: the pipe
// that it reads closes when this process is gone, in whatever way.
func (s *Server) startWatchdog() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	const script = `trap '' INT TERM HUP; cat >/dev/null; kill -9 "$1"; rm -rf "$2"`
	s.watchdog = exec.CommandContext(context.Background(), "sh", "-c", script, "watchdog", strconv.Itoa(s.PID()), s.dir) //nolint:gosec // a constant, a number, a directory of ours
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

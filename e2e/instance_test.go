package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

// startTimeout is the maximum time until an instance listens, on a busy machine.
const startTimeout = 2 * time.Minute

// A store is where one test's instances keep their data.
type store struct {
	flags   []string // that make an instance use it
	config  database.Config
	flavour dbserver.Flavour // empty: the embedded engine
}

// onEachEngine runs a test on the embedded engine, MariaDB and MySQL.
func onEachEngine(t *testing.T, test func(t *testing.T, s store)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, embeddedStore(t))
	})
	onEachServer(t, test)
}

// onEachServer runs a test on MariaDB and MySQL.
func onEachServer(t *testing.T, test func(t *testing.T, s store)) {
	t.Helper()
	onEachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) { test(t, serverStore(t, flavour)) })
}

// onEachFlavour is onEachServer for a test that makes its stores itself.
func onEachFlavour(t *testing.T, test func(t *testing.T, flavour dbserver.Flavour)) {
	t.Helper()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		t.Parallel()
		test(t, flavour)
	})
}

func embeddedStore(t *testing.T) store {
	t.Helper()
	dir := t.TempDir()
	return store{flags: []string{"--data-dir", dir}, config: database.Config{DataDir: dir}}
}

func serverStore(t *testing.T, flavour dbserver.Flavour) store {
	t.Helper()
	dsn := databasetest.ServerDSN(t, flavour)
	return store{[]string{"--mysql-dsn", dsn}, database.Config{MySQLDSN: dsn}, flavour}
}

// another returns an empty store of the same kind.
func (s store) another(t *testing.T) store {
	t.Helper()
	if s.flavour == "" {
		return embeddedStore(t)
	}
	return serverStore(t, s.flavour)
}

// An instance is a running cartwheel.
type instance struct {
	t       *testing.T
	command *exec.Cmd
	base    string // URL
	log     *logBuffer
	ended   chan struct{} // closed when the process is gone
	started time.Time
}

// start runs an instance until the test's end, and returns when it listens.
func start(t *testing.T, s store, flags ...string) *instance {
	t.Helper()
	i := launch(t, s, flags...)
	i.await()
	return i
}

// launch runs an instance and returns at once.
func launch(t *testing.T, s store, flags ...string) *instance {
	t.Helper()
	return launchUnder(t, s, nil, flags...)
}

// launchUnder is launch with the instance's command line given to another program, if any, which
// must become the instance.
func launchUnder(t *testing.T, s store, under []string, flags ...string) *instance {
	t.Helper()
	args := append(append([]string{}, under...), binary, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "", "--log-format", "json")
	args = append(append(args, s.flags...), flags...)
	i := &instance{t: t, command: exec.Command(args[0], args[1:]...), log: &logBuffer{}, ended: make(chan struct{})}
	i.command.Env = cleanEnvironment()
	i.command.Stderr = i.log
	i.started = time.Now()
	if err := i.command.Start(); err != nil {
		t.Fatalf("start cartwheel: %v", err)
	}
	go func() {
		_ = i.command.Wait() // its status is in ProcessState
		close(i.ended)
	}()
	t.Cleanup(func() {
		i.kill()
		if t.Failed() {
			t.Logf("the log of instance %d:\n%s", i.command.Process.Pid, i.log)
		}
	})
	return i
}

// cleanEnvironment is ours without what would configure an instance.
func cleanEnvironment() []string {
	var env []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "MYSQL_DSN", "DATA_DIR", "LISTEN_ADDR", "ADMIN_ADDR", "PAYMENT_URL", "PAYMENT_SECRET", "API_KEYS":
			continue
		}
		env = append(env, variable)
	}
	return env
}

// await waits until the instance says that it listens.
func (i *instance) await() {
	i.t.Helper()
	deadline := time.After(startTimeout)
	for {
		news := i.log.changed() // before the look, so that nothing is missed
		if base := i.log.attribute("listening", "api"); base != "" {
			i.base = base
			return
		}
		select {
		case <-i.ended:
			i.t.Fatalf("the instance ended before it listened: %v\n%s", i.command.ProcessState, i.log)
		case <-deadline:
			i.t.Fatalf("the instance does not listen after %v:\n%s", startTimeout, i.log)
		case <-news:
		}
	}
}

// kill is kill -9: the process has no instruction left.
func (i *instance) kill() {
	_ = i.command.Process.Kill()
	<-i.ended
}

func (i *instance) signal(s syscall.Signal) {
	i.t.Helper()
	if err := i.command.Process.Signal(s); err != nil {
		i.t.Fatalf("send %v: %v", s, err)
	}
}

// isReady reports whether the instance says that an add would work.
func (i *instance) isReady() bool {
	response, err := http.Get(i.base + "/readyz")
	return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// stop is SIGTERM, and waits. It returns the exit status.
func (i *instance) stop() int {
	i.t.Helper()
	i.signal(syscall.SIGTERM)
	return i.exit(40 * time.Second)
}

func (i *instance) exit(within time.Duration) int {
	i.t.Helper()
	within = bound(within)
	select {
	case <-i.ended:
	case <-time.After(within):
		i.t.Fatalf("the instance still runs %v after it was told to end:\n%s", within, i.log)
	}
	return i.command.ProcessState.ExitCode()
}

// A logBuffer keeps an instance's log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer  // under mu
	news chan struct{} // under mu; closed at the next write
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.news != nil {
		close(l.news)
		l.news = nil
	}
	return l.text.Write(p)
}

func (l *logBuffer) changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.news == nil {
		l.news = make(chan struct{})
	}
	return l.news
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// attribute returns an attribute of the first line with the message, or nothing.
func (l *logBuffer) attribute(message, name string) string {
	lines := bufio.NewScanner(strings.NewReader(l.String()))
	for lines.Scan() {
		var line map[string]any
		if json.Unmarshal(lines.Bytes(), &line) == nil && line["msg"] == message {
			value, _ := line[name].(string)
			return value
		}
	}
	return ""
}

// run runs another command on the same data and returns its output and exit status.
func run(t *testing.T, s store, input io.Reader, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	command := exec.Command(binary, append(args, s.flags...)...)
	command.Env = cleanEnvironment()
	var out, errs bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = input, &out, &errs
	err := command.Run()
	if command.ProcessState == nil {
		t.Fatalf("run cartwheel %v: %v", args, err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

// stock imports products, each with that many units.
func (s store) stock(t *testing.T, units map[string]int) {
	t.Helper()
	var csv strings.Builder
	csv.WriteString("product_id,product_name,quantity\n")
	for id, n := range units {
		csv.WriteString(id + ",," + itoa(n) + "\n")
	}
	if _, stderr, status := run(t, s, strings.NewReader(csv.String()), "stock", "import", "-"); status != 0 {
		t.Fatalf("stock import: status %d: %s", status, stderr)
	}
}

// freeAddress returns an address to listen at that stays free until a client who was told of it
// does: none of those that the system hands out by itself, to other tests' servers for one.
func freeAddress(t *testing.T) string {
	t.Helper()
	const least, ports = 20_000, 10_000 // Linux hands out 32,768 and more
	for range 100 {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(least+rand.IntN(ports))))
		if err == nil {
			_ = listener.Close()
			return listener.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

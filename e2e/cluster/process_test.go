package cluster

import (
	"context"
	"crypto/rand"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cartwheel/database/databasetest"
)

// A process is a program that a test starts, breaks and starts again. It ends with the test, even
// when the test is killed.
type process struct {
	t       *testing.T
	name    string
	env     []string // beside our own environment
	command []string
	log     string // file

	running  *exec.Cmd
	exited   chan struct{} // closed once it is gone
	watchdog *exec.Cmd
	alive    io.Closer // the watchdog's sign that we live
}

func newProcess(t *testing.T, name string, env []string, command ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, env: env, command: command, log: filepath.Join(t.TempDir(), "log")}
	t.Cleanup(func() {
		if p.running != nil {
			p.kill()
		}
		if t.Failed() {
			t.Logf("the log of %s ends:\n%s", name, lastLines(p.output(), 15))
		}
	})
	return p
}

// start starts the program, also again, with more arguments if given.
func (p *process) start(more ...string) {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the program has a handle of its own
	args := append(slices.Clone(p.command), more...)
	p.running = exec.CommandContext(context.Background(), args[0], args[1:]...)
	p.running.Env = append(cleanEnvironment(), p.env...)
	p.running.Stdout, p.running.Stderr = log, log
	p.running.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a server's own scripts end with it
	if err := p.running.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	p.exited = make(chan struct{})
	go func(running *exec.Cmd, exited chan struct{}) {
		_ = running.Wait() // its status is in ProcessState
		close(exited)
	}(p.running, p.exited)
	p.watch()
}

// watch starts a shell that outlives the test only to kill the program: the pipe that it reads
// closes when the test is gone.
func (p *process) watch() {
	p.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.watchdog = exec.CommandContext(context.Background(), "sh", "-c", `trap '' INT TERM HUP; cat >/dev/null; kill -9 -"$1"`,
		"watchdog", strconv.Itoa(p.running.Process.Pid))
	p.watchdog.Stdin = read
	if err := p.watchdog.Start(); err != nil {
		p.t.Fatal(err)
	}
	_ = read.Close()
	p.alive = write
}

// ended ends the watchdog of a program that is gone, and the programs that it left behind, before
// another one can have its process ID.
func (p *process) ended() {
	_ = syscall.Kill(-p.running.Process.Pid, syscall.SIGKILL) // none, mostly
	_ = p.watchdog.Process.Kill()
	_ = p.watchdog.Wait() // killed, as it says
	_ = p.alive.Close()
	p.running = nil
}

// kill is kill -9, of its children too, and waits.
func (p *process) kill() {
	_ = syscall.Kill(-p.running.Process.Pid, syscall.SIGKILL) // it may be gone already
	<-p.exited
	p.ended()
}

// stop is SIGTERM, and waits. It returns the exit status.
func (p *process) stop() int {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	return p.exit(40 * time.Second)
}

// exit waits until the program has ended, and returns its exit status.
func (p *process) exit(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(within):
		p.t.Fatalf("%s still runs after %v", p.name, within)
	}
	status := p.running.ProcessState.ExitCode()
	p.ended()
	return status
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.running.Process.Signal(s); err != nil {
		p.t.Fatalf("send %v to %s: %v", s, p.name, err)
	}
}

// gone reports whether the program has ended by itself.
func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func (p *process) output() string {
	text, _ := os.ReadFile(p.log) // none: it was never started
	return string(text)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// cleanEnvironment is ours without what would configure an instance.
func cleanEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"MYSQL_DSN", "MYSQL_READ_DSN", "DATA_DIR", "LISTEN_ADDR", "ADMIN_ADDR", "PAYMENT_URL", "PAYMENT_SECRET",
			"API_KEYS"}, name)
	})
}

// program returns a program's path. A machine without it skips the test; in CI that is a failure.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	databasetest.SkipUnlessCI(t, "there is no "+name+": make cluster-test installs it")
	return ""
}

// freeAddress returns an address to listen at that stays free: none of those that the system hands
// out by itself.
func freeAddress(t *testing.T) string {
	t.Helper()
	const least, ports = 20_000, 10_000 // Linux hands out 32,768 and more
	for range 100 {
		port, err := rand.Int(rand.Reader, big.NewInt(ports))
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.FormatInt(least+port.Int64(), 10)))
		if err == nil {
			_ = listener.Close()
			return listener.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

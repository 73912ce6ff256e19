package e2e

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A flush that fails leaves the frames of its transaction in the WAL. Whoever opens the file after
// a crash may find them, so the answer must not be that nothing was done.
func TestCommit_flushErrorIsAnsweredAsUnknown(t *testing.T) {
	t.Parallel()
	strace := findStrace(t)
	s := embeddedStore(t)
	s.stock(t, map[string]int{"lamp": 100})
	shop := start(t, s)
	if got := shop.send(t.Context(), addition("ann", "lamp", 1)); got.Code != 200 {
		t.Fatalf("before the fault: %v", got)
	}
	failing := exec.CommandContext(t.Context(), strace, "-f", "-o", os.DevNull, "-e", "trace=fsync,fdatasync",
		"-e", "inject=fsync,fdatasync:error=EIO", "-p", strconv.Itoa(shop.command.Process.Pid))
	said, err := failing.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := failing.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || !strings.Contains(line, "attached") {
		t.Fatalf("strace did not attach: %s %v", line, err)
	}
	plain, keyed := addition("ann", "lamp", 2), addition("ann", "lamp", 4).withKey("key-1")
	for _, r := range []request{plain, keyed} {
		if got := shop.send(t.Context(), r); got.Code != http.StatusGatewayTimeout {
			t.Errorf("a commit whose flush failed was answered %v, want 504: its outcome is unknown", got)
		}
	}
	shop.kill()
	_ = failing.Wait() // it ends with the process that it traces

	again := start(t, s)
	if got := again.send(t.Context(), keyed); got.Code != 200 {
		t.Errorf("a repeat after a crash: %v", got)
	}
	out, _, _ := run(t, s, nil, "cart", "show", "ann", "--json")
	if !strings.Contains(out, `"quantity":5`) && !strings.Contains(out, `"quantity":7`) {
		t.Errorf("after a crash and a repeat the cart is %s, want 5 lamps or 7", out)
	}
	if got := again.send(t.Context(), purchase("ann")); got.Code != 200 {
		t.Errorf("after a crash: %v", got)
	}
}

func TestDescriptors_lowLimitStillAnswersAndWarns(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		s.stock(t, map[string]int{"lamp": 100})
		shop := launchUnder(t, s, []string{"sh", "-c", `ulimit -n 160; exec "$0" "$@"`})
		shop.await()
		if !strings.Contains(shop.log.String(), "limit of open files") {
			t.Errorf("no warning: %s", shop.log)
		}
		address := strings.TrimPrefix(shop.base, "http://")
		var idle []net.Conn
		refused := 0
		for range 300 {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			idle = append(idle, conn)
			_ = conn.SetDeadline(time.Now().Add(bound(10 * time.Second)))
			if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				refused++
				continue
			}
			line, err := bufio.NewReader(conn).ReadString('\n')
			switch {
			case err != nil || strings.Contains(line, " 503 "): // closed after the refusal, or refused
				refused++
			case !strings.Contains(line, " 200 "):
				t.Errorf("connection %d: %s", len(idle), line)
			}
		}
		if refused == 0 || refused == len(idle) {
			t.Errorf("%d of %d connections were refused, want some", refused, len(idle))
		}
		for _, conn := range idle {
			_ = conn.Close()
		}
		eventually(t, bound(20*time.Second), "an add succeeds after the flood", func() bool {
			return shop.send(t.Context(), addition("ann", "lamp", 1)).Code == 200
		})
		if status := shop.stop(); status != 0 {
			t.Errorf("exit status %d", status)
		}
	})
}

// startWithStderr runs an instance whose log goes to a file of the test's.
func startWithStderr(t *testing.T, s store, stderr *os.File, flags ...string) *instance {
	t.Helper()
	address := freeAddress(t)
	args := append(append([]string{"serve", "--listen", address, "--admin-listen", "", "--log-format", "json"}, s.flags...), flags...)
	i := &instance{t: t, command: exec.Command(binary, args...), log: &logBuffer{}, ended: make(chan struct{}), base: "http://" + address}
	i.command.Env = cleanEnvironment()
	i.command.Stderr = stderr
	if err := i.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = i.command.Wait() // its status is in ProcessState
		close(i.ended)
	}()
	t.Cleanup(i.kill)
	eventually(t, startTimeout, "the instance answers", func() bool {
		response, err := http.Get(i.base + "/healthz")
		return err == nil && response.Body.Close() == nil
	})
	return i
}

// sellsAndDrains adds, checks out against a payment service that is down, which is logged, and
// stops.
func sellsAndDrains(t *testing.T, shop *instance) {
	t.Helper()
	for range 20 {
		if got := shop.send(t.Context(), addition("ann", "lamp", 1)); got.Code != 200 {
			t.Fatalf("add: %v", got)
		}
		if got := shop.send(t.Context(), purchase("ann")); got.Code != http.StatusServiceUnavailable {
			t.Fatalf("checkout without a payment service: %v, want 503", got)
		}
	}
	if status := shop.stop(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestLog_stalledStderrStopsNothing(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	s.stock(t, map[string]int{"lamp": 100})
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = read.Close(), write.Close() })
	// The pipe is full from the start.
	fd := int(write.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := unix.Write(fd, make([]byte, 4096)); err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				t.Fatal(err)
			}
			break
		}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	sellsAndDrains(t, startWithStderr(t, s, write, "--payment-url", "http://127.0.0.1:1"))
}

func TestLog_closedStderrStopsNothing(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	s.stock(t, map[string]int{"lamp": 100})
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = write.Close() })
	sellsAndDrains(t, startWithStderr(t, s, write, "--payment-url", "http://127.0.0.1:1"))
}

func TestSignals_sighupDrainsAndARepeatedSigtermDoesNotKill(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	s.stock(t, map[string]int{"lamp": 100})
	// Under nohup SIGHUP is ignored, also by what the test starts. What is caught here is not.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	for _, signals := range [][]syscall.Signal{{syscall.SIGHUP}, {syscall.SIGTERM, syscall.SIGTERM}} {
		shop := start(t, s, "--payment-url", "sandbox:?latency=2s")
		if got := shop.send(t.Context(), addition("ann", "lamp", 1)); got.Code != 200 {
			t.Fatal(got)
		}
		answer := make(chan reply, 1)
		go func() { answer <- shop.send(t.Context(), purchase("ann")) }()
		eventually(t, bound(20*time.Second), "a checkout is under way", func() bool {
			out, _, _ := run(t, s, nil, "checkouts", "list", "--state", "open", "--json")
			return strings.Contains(out, "reserved")
		})
		for _, signal := range signals {
			shop.signal(signal)
		}
		if got := <-answer; got.Code != 200 {
			t.Errorf("%v: the checkout under way got %v", signals, got)
		}
		if status := shop.exit(30 * time.Second); status != 0 {
			t.Errorf("%v: exit status %d", signals, status)
		}
	}
}

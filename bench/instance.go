package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 40 * time.Second // longer than the drain takes
)

// An instance is a running server: cartwheel, or the null shop.
type instance struct {
	name    string
	command *exec.Cmd
	base    string // URL
	logFile string
	ended   chan struct{} // closed when the process is gone
}

// start runs a server and returns when it listens. b.close ends it.
func (b *bench) start(ctx context.Context, name, binary string, args ...string) (*instance, error) {
	b.started++
	i := &instance{name: name, ended: make(chan struct{}), logFile: filepath.Join(b.dir, fmt.Sprintf("%d-%s.log", b.started, name))}
	i.command = exec.CommandContext(context.WithoutCancel(ctx), binary, args...)
	i.command.Env = cleanEnvironment()
	separate(i.command)
	stderr, err := i.command.StderrPipe()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(i.logFile)
	if err != nil {
		return nil, err
	}
	if err := i.command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	b.instances = append(b.instances, i)
	listening := make(chan string, 1)
	var reader sync.WaitGroup
	reader.Go(func() { i.follow(stderr, log, listening) })
	go func() {
		reader.Wait()
		_ = i.command.Wait() // its status is in ProcessState
		_ = log.Close()
		close(i.ended)
	}()
	select {
	case i.base = <-listening:
		return i, nil
	case <-i.ended:
		return nil, fmt.Errorf("%s ended before it listened: %s", name, i.said())
	case <-time.After(startTimeout):
		return nil, fmt.Errorf("%s does not listen after %v: %s", name, startTimeout, i.said())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// follow keeps the log and tells when the instance listens.
func (i *instance) follow(from io.Reader, log io.Writer, listening chan<- string) {
	lines := bufio.NewReader(from)
	for {
		text, err := lines.ReadBytes('\n')
		_, _ = log.Write(text)
		var line struct{ Msg, API string }
		if json.Unmarshal(text, &line) == nil && line.Msg == "listening" && line.API != "" {
			select {
			case listening <- line.API:
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// said is the end of the instance's log.
func (i *instance) said() string {
	const most = 2000
	text, _ := os.ReadFile(i.logFile)
	return string(text[max(0, len(text)-most):])
}

// stop ends the instance as an operator would, and waits.
func (i *instance) stop() error {
	_ = i.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-i.ended:
	case <-time.After(stopTimeout):
		_ = i.command.Process.Kill()
		<-i.ended
		return fmt.Errorf("%s had to be killed: %s", i.name, i.said())
	}
	if code := i.command.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with status %d: %s", i.name, code, i.said())
	}
	return nil
}

// kill ends the instance at once, and waits.
func (i *instance) kill() {
	_ = i.command.Process.Kill()
	<-i.ended
}

// peakMemory is the most resident memory that the process ever had, in bytes.
func (i *instance) peakMemory() (int64, error) { return peakMemory(i.command.Process.Pid) }

func peakMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("the kernel does not tell VmHWM")
}

// processorTime returns the user and system time of processes so far.
func processorTime(pids ...int) (time.Duration, error) {
	const utime, stime, tick = 11, 12, 10 * time.Millisecond // the kernel counts hundredths of a second
	var ticks int64
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(stat), ") ") // the name may have spaces
		fields := strings.Fields(rest)
		if len(fields) <= stime {
			return 0, fmt.Errorf("/proc/PID/stat is %q", stat)
		}
		for _, field := range []string{fields[utime], fields[stime]} {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * tick, nil
}

// cleanEnvironment is ours without what would configure an instance.
func cleanEnvironment() []string {
	var env []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "MYSQL_DSN", "DATA_DIR", "LISTEN_ADDR", "PAYMENT_URL", "PAYMENT_TIMEOUT", "PAYMENT_SECRET", "CHECKOUT_LEASE",
			"CHECKOUTS_IN_FLIGHT", "QUEUE_CAPACITY", "BATCH_SIZE", "REQUEST_TIMEOUT", "DRAIN_TIMEOUT", "RATE_LIMIT", "API_KEYS",
			"CORS_ORIGINS", "LOG_FORMAT", "ADMIN_ADDR", "WEBHOOK_URL", "WEBHOOK_SECRET":
			continue
		}
		env = append(env, variable)
	}
	return append(env, "ADMIN_ADDR=127.0.0.1:0") // several run side by side
}

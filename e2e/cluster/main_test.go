package cluster

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/go-sql-driver/mysql"
)

var soak = flag.Bool("soak", false, "run all faults, with the time limits of a machine of its own")

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	_ = mysql.SetLogger(&mysql.NopLogger{}) // what it says of servers that were killed
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cartwheel-cluster-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory of ours
	binary = filepath.Join(dir, "cartwheel")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", binary, ".")
	build.Dir = "../.." // the product's own module
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build cartwheel: %v\n%s", err, out)
		return 1
	}
	defer reports.print()
	return m.Run()
}

// busyFactor multiplies the time limits in the short form, which shares the machine with other
// programs.
const busyFactor = 4

// bound returns a documented time limit as a test checks it: exactly in the long form.
func bound(limit time.Duration) time.Duration {
	if *soak {
		return limit
	}
	return busyFactor * limit
}

// wait waits, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// eventually waits until check is true. It fails the test when that exceeds the time.
func eventually(t *testing.T, within time.Duration, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		<-ticker.C
	}
}

// reports are the faults' lines, printed when all tests are over.
var reports table

type table struct {
	mu    sync.Mutex
	lines []string // under mu
}

func (r *table) add(columns ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.Join(columns, "\t"))
}

func (r *table) print() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) == 0 {
		return
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "fault\ttime to heal\tslowest answer\trequests\tinconsistencies\tanswers by code")
	for _, line := range r.lines {
		_, _ = fmt.Fprintln(out, line)
	}
	_ = out.Flush()
}

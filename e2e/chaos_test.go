package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"
)

var soak = flag.Bool("soak", false, "run the chaos tests in their long form")

// shortOrLong picks a chaos test's size: the short form runs in `make test`, the long one in `make
// soak`.
func shortOrLong[T any](short, long T) T {
	if *soak {
		return long
	}
	return short
}

// busyFactor multiplies the time limits in the short form, which shares the machine with other
// tests and programs.
const busyFactor = 6

// bound returns a documented time limit as a test checks it: exactly in the long form, which has
// the machine to itself.
func bound(limit time.Duration) time.Duration { return shortOrLong(busyFactor*limit, limit) }

// A chaos test disturbs the shop in one way, checks every promise from outside, and says at the
// test's end what it did.
type chaos struct {
	t        *testing.T
	store    store
	payments *paymentService
	shoppers *shoppers
	stocked  map[string]int // units imported, by product

	kills      atomic.Int64
	requests   atomic.Int64
	violations atomic.Int64

	mu       sync.Mutex
	notes    []string      // under mu; what else it did: "12 sessions killed"
	recovery time.Duration // under mu; slowest
	memory   int64         // under mu; highest resident set of an instance, in bytes
	sales    int           // under mu; checkouts in the journal at the end
}

// newChaos stocks the shop and opens the payment service. Call check at the end.
func newChaos(t *testing.T, s store, stocked map[string]int) *chaos {
	t.Helper()
	c := &chaos{t: t, store: s, payments: startPaymentService(t), stocked: stocked}
	c.shoppers = newShoppers(c)
	stocked[regretted] = 1_000_000
	s.stock(t, stocked)
	t.Cleanup(func() { reports.add(c.report()) })
	return c
}

// violationf reports that a guarantee does not hold.
func (c *chaos) violationf(format string, args ...any) {
	c.t.Helper()
	c.violations.Add(1)
	c.t.Errorf("violation: "+format, args...)
}

// notef adds to what the chaos test says that it did.
func (c *chaos) notef(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// start starts an instance that charges at the chaos test's payment service.
func (c *chaos) start(flags ...string) *instance {
	c.t.Helper()
	return start(c.t, c.store, append([]string{"--payment-url", c.payments.url}, flags...)...)
}

// kill is kill -9, counted.
func (c *chaos) kill(i *instance) {
	c.recordMemory(i)
	i.kill()
	c.kills.Add(1)
}

// weigh notes the most memory that the instance has had.
func (c *chaos) recordMemory(i *instance) {
	if peak := i.peakMemory(); peak > 0 {
		c.mu.Lock()
		c.memory = max(c.memory, peak)
		c.mu.Unlock()
	}
}

// recovered notes how long it took until everything was settled.
func (c *chaos) recovered(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recovery = max(c.recovery, took)
}

// settle waits until no checkout is in flight, and notes how long that took.
func (c *chaos) settle() {
	c.t.Helper()
	const most = 40 * time.Second // leases and pauses between retries, on a busy machine
	c.recovered(eventually(c.t, most, "every checkout is settled", func() bool { return c.store.snapshot(c.t).open() == 0 }))
}

// check holds the books, the payment service and what the shoppers were told against every promise.
// Everything must be settled, and the payment service reachable.
func (c *chaos) check() {
	c.t.Helper()
	before := c.t.Failed()
	b := c.store.snapshot(c.t)
	c.mu.Lock()
	c.sales = len(b.checkouts)
	c.mu.Unlock()
	b.balance(c.t, c.stocked)
	b.agrees(c.t, c.payments.Payments())
	c.shoppers.agrees(b)
	if out, errs, status := run(c.t, c.store, nil, "audit", "--gateway", "--payment-url", c.payments.url); status != 0 {
		c.violationf("audit: status %d: %s%s", status, out, errs)
	}
	if c.t.Failed() && !before && c.violations.Load() == 0 {
		c.violations.Add(1)
	}
}

// report is the chaos test's line of the table that is printed at the end.
func (c *chaos) report() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join([]string{strings.TrimPrefix(c.t.Name(), "Test"), strconv.FormatInt(c.kills.Load(), 10),
		strconv.FormatInt(c.requests.Load(), 10), strconv.Itoa(c.sales), strconv.FormatInt(c.violations.Load(), 10),
		c.recovery.Round(10 * time.Millisecond).String(), strconv.FormatInt(c.memory>>20, 10) + " MiB", strings.Join(c.notes, ", ")}, "\t")
}

// reports are the chaos tests' lines, printed when all tests are over.
var reports table

type table struct {
	mu    sync.Mutex
	lines []string // under mu
}

func (r *table) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
}

func (r *table) print() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) == 0 {
		return
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "chaos test\tkills\trequests\tcheckouts\tbreaches\tslowest recovery\tmemory\t")
	for _, line := range r.lines {
		_, _ = fmt.Fprintln(out, line)
	}
	_ = out.Flush()
}

// peakMemory is the instance's highest resident set in bytes, 0 where the system does not tell.
func (i *instance) peakMemory() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", i.command.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(status) {
		if value, found := bytes.CutPrefix(line, []byte("VmHWM:")); found {
			kib, _ := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
			return kib << 10
		}
	}
	return 0
}

package dashboard

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/goleak"

	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
	"cartwheel/inventory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeShop is a database that a test fills, and counts how often it is read.
type fakeShop struct {
	mu       sync.Mutex
	products []inventory.Product // under mu
	open     []checkout.Entry    // under mu
	err      error               // under mu
	looks    atomic.Int64
}

func (f *fakeShop) LowestStock(_ context.Context, limit int) ([]inventory.Product, error) {
	f.looks.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.products[:min(limit, len(f.products))], f.err
}

func (f *fakeShop) OpenCheckouts(_ context.Context, limit int) ([]checkout.Entry, error) {
	f.looks.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open[:min(limit, len(f.open))], f.err
}

func product(id string, onHand int64) inventory.Product {
	return inventory.Product{ID: id, Name: "", Level: inventory.Level{OnHand: onHand}}
}

// A site is a dashboard on a real port.
type site struct {
	*fakeShop

	t         *testing.T
	url       string
	metrics   *metrics.Metrics
	dashboard *Dashboard
	audit     atomic.Pointer[checkout.Report]
	sandbox   atomic.Bool
}

func setup(t *testing.T) *site {
	t.Helper()
	s := &site{fakeShop: &fakeShop{}, t: t, metrics: metrics.New("v1")}
	s.metrics.Queue("cart.add")
	s.metrics.Watch(func() metrics.Levels {
		return metrics.Levels{
			Queues:    []metrics.Utilization{{Name: "cart.add", Used: 3500, Limit: 4096}},
			Checkouts: metrics.Utilization{Used: 2, Limit: 4096},
			Audit:     s.audit.Load(),
			Sandbox:   s.sandbox.Load(),
		}
	}, collectors.NewDBStatsCollector(&sql.DB{}, "cartwheel"))
	s.dashboard = New(s.fakeShop, s.metrics, About{Version: "v1", Engine: "embedded://data", Gateway: "sandbox:"})
	server := httptest.NewServer(s.dashboard.Handler())
	s.url = server.URL
	t.Cleanup(func() {
		s.dashboard.Close()
		server.Close()
	})
	return s
}

// A reply is what came back, as far as tests look at it.
type reply struct {
	code   int
	header http.Header
	text   string
}

func (s *site) get(path string) reply {
	s.t.Helper()
	answer, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var text strings.Builder
	if _, err := bufio.NewReader(answer.Body).WriteTo(&text); err != nil {
		s.t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, text.String()}
}

// watch opens the events. next blocks until the next one.
func (s *site) watch() (code int, next func() (event string, data []byte), leave func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+pathEvents, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	leave = func() {
		cancel()
		_ = answer.Body.Close()
	}
	s.t.Cleanup(leave)
	lines := bufio.NewReader(answer.Body)
	return answer.StatusCode, func() (event string, data []byte) {
		s.t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				s.t.Fatalf("the events ended: %v", err)
			}
			if name, ok := strings.CutPrefix(line, "event: "); ok {
				event = strings.TrimSpace(name)
			}
			if text, ok := strings.CutPrefix(line, "data: "); ok {
				return event, []byte(text)
			}
		}
	}, leave
}

func decode(t *testing.T, data []byte) (b broadcast) {
	t.Helper()
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return b
}

func TestDashboard_viewerGetsASampleEverySecond(t *testing.T) {
	t.Parallel()
	s := setup(t)
	_, next, _ := s.watch()
	if event, _ := next(); event != "history" {
		t.Errorf("the first event is %q, want the history", event)
	}
	event, data := next() // from here on the counters are looked at
	if event != "sample" {
		t.Errorf("got %q, want a sample", event)
	}
	if quiet := decode(t, data); quiet.Adds.All() != 0 || quiet.Adds.P50 != nil {
		t.Errorf("nothing was asked, and the page says %+v", quiet.Adds)
	}
	for range 50 {
		s.metrics.Requests(metrics.RouteAddToCart).Answered(200, 4*time.Millisecond)
	}
	s.metrics.Requests(metrics.RouteCheckOutCart).Answered(402, time.Millisecond)
	var adds, declined float64
	var last broadcast
	for seconds := 0; declined == 0 && seconds < 5; seconds++ { // all at once, or in two seconds
		_, data = next()
		last = decode(t, data)
		adds, declined = adds+last.Adds.Success, declined+last.Checkouts.Declined
		if median := last.Adds.P50; median != nil && (*median < 3 || *median > 4) {
			t.Errorf("the median of 4 ms is told as %v", *median)
		}
	}
	if adds < 25 || adds > 75 || declined <= 0 || last.Checkouts.Success != 0 { // a busy machine's seconds are not exact
		t.Errorf("50 adds and a decline: got %v adds and %v declines", adds, declined)
	}
	if !strings.Contains(last.HTML["queues"], "3,500 of 4,096") || !strings.Contains(last.HTML["queues"], "filling") {
		t.Errorf("the queue is not shown as filling: %s", last.HTML["queues"])
	}
}

func TestDashboard_readsNothingWithoutViewers(t *testing.T) {
	t.Parallel()
	s := setup(t)
	_, next, leave := s.watch()
	next()
	next()
	if s.looks.Load() == 0 {
		t.Error("the database was not read while somebody watched: the test does not look")
	}
	leave()
	s.dashboard.tasks.Wait() // the collector goes home
	looks := s.looks.Load()
	select {
	case <-time.After(2 * sampleInterval):
	case <-t.Context().Done():
	}
	if got := s.looks.Load(); got != looks {
		t.Errorf("the database was read %d times while nobody watched", got-looks)
	}
	// The next viewer is served again, and shown what was before.
	_, next, _ = s.watch()
	var history []sample
	if _, data := next(); json.Unmarshal(data, &history) != nil || len(history) == 0 {
		t.Errorf("history: %v", history)
	}
	if event, _ := next(); event != "sample" {
		t.Errorf("got %q, want a sample", event)
	}
}

func TestDashboard_tooManyViewersAreRefused(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var leaves []func()
	for range maxViewers {
		code, next, leave := s.watch()
		if next(); code != http.StatusOK {
			t.Fatalf("a viewer was answered %d", code)
		}
		leaves = append(leaves, leave)
	}
	if code, _, _ := s.watch(); code != http.StatusServiceUnavailable {
		t.Errorf("one viewer too many was answered %d, want 503", code)
	}
	leaves[0]()
	deadline := time.Now().Add(10 * time.Second)
	for code := 0; code != http.StatusOK; code, _, _ = s.watch() {
		if time.Now().After(deadline) {
			t.Fatal("a place that was given back is not taken again")
		}
	}
}

func TestDashboard_closeDisconnectsViewers(t *testing.T) {
	t.Parallel()
	s := setup(t)
	_, next, _ := s.watch()
	next()
	s.dashboard.Close()
	if code, _, _ := s.watch(); code != http.StatusServiceUnavailable {
		t.Errorf("a viewer after Close was answered %d, want 503", code)
	}
}

func TestDashboard_escapesStoredText(t *testing.T) {
	t.Parallel()
	s := setup(t)
	const hostile = `<script>alert("1")</script>`
	s.products = []inventory.Product{product(hostile, 5)}
	s.open = []checkout.Entry{
		{CheckoutID: hostile, State: checkout.Refunding, Epoch: 3, CreatedAt: time.Now()},
		{CheckoutID: "cancelled", State: checkout.Cancelling, Epoch: 2, CreatedAt: time.Now()},
	}
	s.audit.Store(&checkout.Report{At: time.Now(), Count: 1, Inconsistencies: []checkout.Inconsistency{{Rule: checkout.RuleStock, What: hostile, Detail: hostile}}})
	page := s.get("/").text
	_, next, _ := s.watch()
	next()
	_, data := next()
	_, data2 := next() // by now the database was read
	html := decode(t, data).HTML
	for id, part := range decode(t, data2).HTML {
		html[id] = part
	}
	for where, text := range map[string]string{
		"the page": page, "stock": html["stock"], "open checkouts": html["open"], "audit": html["audit"],
	} {
		if strings.Contains(text, "<script>alert") {
			t.Errorf("%s has it as it is: %s", where, text)
		}
		if !strings.Contains(text, "&lt;script&gt;alert") {
			t.Errorf("%s does not have it: %s", where, text)
		}
	}
	if strings.Count(html["open"], " failed ") != 1 || !strings.Contains(html["open"], "2 failed recoveries") || !strings.Contains(html["audit"], "1 inconsistency<") {
		t.Errorf("open: %s, audit: %s", html["open"], html["audit"])
	}
}

func TestDashboard_policyAllowsOnlyItself(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for path, kind := range map[string]string{
		"/": "text/html", "/dashboard/dashboard.js": "text/javascript", "/dashboard/dashboard.css": "text/css",
		"/dashboard/icon.svg": "image/svg+xml", "/dashboard/uPlot.iife.min.js": "text/javascript", "/dashboard/uPlot.min.css": "text/css",
	} {
		got := s.get(path)
		if got.code != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), kind) || len(got.text) < 50 {
			t.Errorf("%s: %d %s, %d bytes", path, got.code, got.header.Get("Content-Type"), len(got.text))
		}
		policy := got.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
	if got := s.get("/dashboard/other"); got.code != http.StatusNotFound {
		t.Errorf("/dashboard/other: %d, want 404", got.code)
	}
}

func TestDashboard_showsLowestStockAndExplainsNone(t *testing.T) {
	t.Parallel()
	s := setup(t)
	if page := s.get("/").text; !strings.Contains(page, "cartwheel stock import") {
		t.Error("an empty catalogue does not say how to fill it")
	}
	s = setup(t)
	for i := range maxProducts + 1 {
		s.products = append(s.products, product(fmt.Sprintf("p%03d", i), int64(i)))
	}
	page := s.get("/").text
	if got := strings.Count(page, `class="id">p`); got != maxProducts || !strings.Contains(page, "cartwheel stock list") {
		t.Errorf("%d products, want %d and that there are more", got, maxProducts)
	}
}

func TestDashboard_cachesWhatItReads(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.products = []inventory.Product{product("mug", 5)}
	for range 20 {
		s.get("/")
	}
	if got := s.looks.Load(); got != 2 {
		t.Errorf("twenty pages in a row read the database %d times, want once for stock and once for checkouts", got)
	}
}

func TestCache_callerThatLeavesIsNoFailure(t *testing.T) {
	t.Parallel()
	left, leave := context.WithCancel(t.Context())
	leave()
	c := cache[int]{limit: 1, query: func(ctx context.Context, _ int) ([]int, error) { return []int{1, 2}, ctx.Err() }}
	if c.refresh(left); c.get().Failed {
		t.Error("a caller that left made the read fail for all")
	}
	c.refresh(t.Context())
	if got := c.get(); len(got.Rows) != 1 || !got.More || got.Failed {
		t.Errorf("got %+v, want one row of more", got)
	}
}

func TestDashboard_warnsOfTheSandbox(t *testing.T) {
	t.Parallel()
	s := setup(t)
	const warning = "no customer is charged"
	if strings.Contains(s.get("/").text, warning) {
		t.Error("a warning of the sandbox, which is not used")
	}
	s.sandbox.Store(true)
	if !strings.Contains(s.get("/").text, warning) {
		t.Error("no warning of the sandbox")
	}
}

func TestDashboard_saysThatTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.err = errors.New("secret detail")
	page := s.get("/").text
	if got := strings.Count(page, "Could not be read"); got != 2 {
		t.Errorf("%d parts say that they could not be read, want the stock and the checkouts", got)
	}
	if strings.Contains(page, "secret detail") || strings.Contains(page, "everything is settled") {
		t.Error("the page tells what it does not know, or what it should not")
	}
}

func TestMetrics_quantilesComeFromBuckets(t *testing.T) {
	t.Parallel()
	bounds := metrics.LatencyBounds()
	counts := func(pairs ...uint64) []uint64 {
		all := make([]uint64, len(bounds)+1)
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = pairs[i+1]
		}
		return all
	}
	beyond := uint64(len(bounds))
	for what, test := range map[string]struct {
		q      float64
		counts []uint64
		want   float64 // ms; 0: nil
	}{
		"nothing":               {.5, counts(), 0},
		"half of one bucket":    {.5, counts(0, 10), .13}, // of 0.25 ms
		"the second of two":     {.99, counts(0, 50, 1, 50), .5},
		"the first of two":      {.5, counts(0, 50, 1, 50), .25},
		"beyond the last bound": {.99, counts(beyond, 5), 15000},
	} {
		got := quantile(test.q, test.counts)
		switch {
		case test.want == 0:
			if got != nil {
				t.Errorf("%s: got %v, want none", what, *got)
			}
		case got == nil || *got < test.want*.97 || *got > test.want*1.03:
			t.Errorf("%s: got %v, want %v", what, millisecondsText(got), test.want)
		}
	}
}

func TestRunbook_hasAnAnchorForEachAlert(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("../../../deploy/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`http://\{\{ \$labels\.instance \}\}(/runbook)#(\w+)`).FindAllSubmatch(rules, -1)
	if len(links) < 20 {
		t.Errorf("%d links were found: the test does not look", len(links))
	}
	page := setup(t).get("/runbook").text
	for _, link := range links {
		if !strings.Contains(page, `<b id="`+string(link[2])+`">### Cartwheel`) {
			t.Errorf("the page has no anchor %s", link[2])
		}
	}
	if !strings.Contains(page, "&lt;!-- tested") {
		t.Error("the text is not escaped")
	}
}

package dashboard

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/goleak"

	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
	"cartwheel/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeShop is a database that a test fills, and counts how often it is read.
type fakeShop struct {
	mu       sync.Mutex
	products []inventory.Product // under mu
	open     []checkout.Entry    // under mu
	recent   []checkout.Entry    // under mu
	err      error               // under mu
	notReady error               // under mu
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

func (f *fakeShop) RecentCheckouts(_ context.Context, limit int) ([]checkout.Entry, error) {
	f.looks.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.recent[:min(limit, len(f.recent))], f.err
}

func (f *fakeShop) Ready(context.Context) error {
	f.looks.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.notReady
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
	adds      queue.Observer
	audit     atomic.Pointer[checkout.Report]
	sandbox   atomic.Bool
}

func setup(t *testing.T) *site {
	t.Helper()
	s := &site{fakeShop: &fakeShop{}, t: t, metrics: metrics.New("v1")}
	s.adds = s.metrics.Queue("cart.add")
	s.metrics.Watch(func() metrics.Levels {
		return metrics.Levels{
			Queues:    []metrics.QueueLevel{{Name: "cart.add", Utilization: metrics.Utilization{Used: 3500, Limit: 4096}}},
			Checkouts: metrics.Utilization{Used: 2, Limit: 4096},
			Audit:     s.audit.Load(),
			Sandbox:   s.sandbox.Load(),
		}
	}, collectors.NewDBStatsCollector(&sql.DB{}, "cartwheel"))
	s.dashboard = New(s.fakeShop, s.metrics, About{Version: "v1", Engine: "embedded://data", Gateway: "sandbox:"})
	ctx, stop := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { s.dashboard.Run(ctx) })
	server := httptest.NewServer(s.dashboard.Handler())
	s.url = server.URL
	t.Cleanup(func() {
		stop()
		run.Wait()
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

// next asks until there is a sample after the last one, and adds what is new to what the page has.
func (s *site) next(page *update) {
	s.t.Helper()
	until(s.t, "there is another sample", func() bool {
		after := 0.0
		if n := len(page.Samples); n > 0 {
			after = page.Samples[n-1].At
		}
		var news update
		if err := json.Unmarshal([]byte(s.get(fmt.Sprintf("%s?after=%f", pathUpdate, after)).text), &news); err != nil {
			s.t.Fatal(err)
		}
		page.Version, page.Samples = news.Version, append(page.Samples, news.Samples...)
		if news.HTML != nil {
			page.HTML = news.HTML
		}
		return len(news.Samples) > 0
	})
}

func TestDashboard_viewerGetsASampleEverySecond(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var page update
	s.next(&page) // from here on the counters are looked at
	if quiet := page.Samples[0]; quiet.Adds != (rates{}) {
		t.Errorf("nothing was asked, and the page says %+v", quiet.Adds)
	}
	for range 50 {
		s.metrics.Answered("/addToCart", 200, 4*time.Millisecond)
	}
	s.metrics.Answered("/checkOutCart", 402, time.Millisecond)
	var adds, declined float64
	var last sample
	for seconds := 0; declined == 0 && seconds < 5; seconds++ { // all at once, or in two seconds
		s.next(&page)
		last = page.Samples[len(page.Samples)-1]
		adds, declined = adds+last.Adds.Success, declined+last.Checkouts.Declined
		if median := last.Adds.P50; median != 0 && (median < 3 || median > 4) {
			t.Errorf("the median of 4 ms is told as %v", median)
		}
	}
	if adds < 25 || adds > 75 || declined <= 0 || last.Checkouts.Success != 0 { // a busy machine's seconds are not exact
		t.Errorf("50 adds and a decline: got %v adds and %v declines", adds, declined)
	}
	if !strings.Contains(page.HTML["queues"], "3,500 of 4,096") || !strings.Contains(page.HTML["queues"], "filling") {
		t.Errorf("the queue is not shown as filling: %s", page.HTML["queues"])
	}
}

func TestDashboard_chartsBatchesByTheNameOfTheirQueue(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var page update
	s.next(&page)
	s.adds.BatchDone(queue.BatchStats{Jobs: 7})
	until(t, "the batch is in a sample", func() bool {
		s.next(&page)
		return slices.ContainsFunc(page.Samples, func(one sample) bool { return one.Batches["cart.add"] == 7 })
	})
	if !strings.Contains(s.get("/dashboard/dashboard.js").text, `m.batches["cart.add"]`) {
		t.Error("the chart does not ask for the queue by its name")
	}
}

func TestDashboard_readsNothingWithoutViewers(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var page update
	s.next(&page)
	s.next(&page)
	if s.looks.Load() == 0 {
		t.Error("the database was not read while somebody watched: the test does not look")
	}
	until(t, "the viewer has left", func() bool { return !s.dashboard.watched() })
	s.recorded(1) // a read that had begun is over
	looks := s.looks.Load()
	s.recorded(2)
	if got := s.looks.Load(); got != looks {
		t.Errorf("the database was read %d times while nobody watched", got-looks)
	}
}

// recorded waits until that many more samples are in the history.
func (s *site) recorded(more int) {
	s.t.Helper()
	length := func() int {
		s.dashboard.mu.Lock()
		defer s.dashboard.mu.Unlock()
		return len(s.dashboard.history)
	}
	want := length() + more
	until(s.t, "samples are recorded", func() bool { return length() >= want })
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	databasetest.Eventually(t, 20*time.Second, what, is)
}

func TestDashboard_recordsWithoutViewers(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.recorded(1)
	s.metrics.Answered("/checkOutCart", 402, time.Millisecond)
	s.recorded(2)
	var page update
	s.next(&page)
	if len(page.Samples) < 2 {
		t.Fatalf("the history has %d samples", len(page.Samples))
	}
	declined := 0.0
	for _, one := range page.Samples {
		declined += one.Checkouts.Declined
	}
	if declined == 0 {
		t.Error("what happened before the first viewer is not in the history")
	}
}

func TestDashboard_historyEndsAfterAnHour(t *testing.T) {
	t.Parallel()
	d := New(&fakeShop{}, metrics.New(""), About{})
	for at := range 3 * maxHistory {
		d.record(sample{At: float64(at)}, nil)
	}
	history := d.history
	if len(history) != maxHistory || history[0].At != 2*maxHistory || history[maxHistory-1].At != 3*maxHistory-1 {
		t.Errorf("%d samples from %v on", len(history), history[0].At)
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

func TestDashboard_cachesWhatItReads(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.products = []inventory.Product{product("mug", 5)}
	for range 20 {
		s.get("/")
	}
	if got := s.looks.Load(); got != 3+20 { // readiness has a cache of its own
		t.Errorf("twenty pages in a row read the database %d times, want once for stock and twice for checkouts", got-20)
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
		want   float64 // ms
	}{
		"nothing":               {.5, counts(), 0},
		"half of one bucket":    {.5, counts(0, 10), .13}, // of 0.25 ms
		"the second of two":     {.99, counts(0, 50, 1, 50), .5},
		"the first of two":      {.5, counts(0, 50, 1, 50), .25},
		"beyond the last bound": {.99, counts(beyond, 5), 15000},
	} {
		if got := quantile(test.q, test.counts); got < test.want*.97 || got > test.want*1.03 {
			t.Errorf("%s: got %v ms, want %v", what, got, test.want)
		}
	}
}

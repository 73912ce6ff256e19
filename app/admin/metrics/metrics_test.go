package metrics

import (
	"database/sql"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/payment"
	"cartwheel/queue"
)

// setup returns metrics that have seen one of everything.
func setup(t *testing.T) *Metrics {
	t.Helper()
	m := New("v1.2.3")
	m.Answered("/addToCart", 200, 3*time.Millisecond)
	m.Answered("/addToCart", 409, 7*time.Millisecond)
	m.Answered("/addToCart", 503, time.Microsecond)
	m.Answered("/checkOutCart", 418, time.Second)
	m.Answered("/nothing", 0, time.Second)
	adds := m.Queue("cart.add")
	adds.BatchDone(queue.BatchStats{Jobs: 5, Waited: time.Millisecond, Took: 2 * time.Millisecond})
	adds.BatchDone(queue.BatchStats{Jobs: 2, Waited: time.Millisecond, Took: 2 * time.Millisecond})
	adds.Refused(queue.ErrFull)
	adds.Refused(queue.ErrClosed)
	transactions := m.Transactions()
	for _, end := range database.Ends() {
		transactions.Transacted(end, time.Millisecond)
	}
	transactions.Retry("1213")
	payments := m.Payments()
	payments.Began("charge")
	payments.Began("charge")
	payments.Called("charge", string(payment.Approved), 20*time.Millisecond)
	payments.Began("void")
	payments.Called("void", "unknown", 20*time.Millisecond)
	payments.Retried("charge")
	payments.BreakerChanged("open")
	m.Recoveries()(checkout.Committed)
	m.Moves()(checkout.Refunding)
	sold := m.Sold()
	sold(3)
	sold(4)
	m.OpenCheckouts()(checkout.OpenLevels{Count: map[checkout.State]int{checkout.Refunding: 2}, Oldest: time.Minute})
	m.Watch(func() Levels {
		return Levels{
			Queues:             []QueueLevel{{Name: "cart.add", Utilization: Utilization{3, 4096}}},
			Checkouts:          Utilization{Used: 7, Limit: 100},
			Connections:        Utilization{Used: 9, Limit: 16384},
			RefusedConnections: 2,
			DroppedRecords:     6,
			Audit:              &checkout.Report{At: time.Unix(1000, 0), Count: 4},
			Sandbox:            true,
			Disk:               &Disk{Data: 8, WAL: 16, Free: 32},
		}
	}, collectors.NewDBStatsCollector(&sql.DB{}, "cartwheel"))
	return m
}

func TestMetrics_followPrometheusConventions(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(setup(t).Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetrics_countWhatHappened(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	setup(t).Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	page := answer.Body.String()
	for _, want := range []string{
		`cartwheel_http_request_duration_seconds_count{code="200",route="/addToCart"} 1`,
		`cartwheel_http_request_duration_seconds_count{code="409",route="/addToCart"} 1`,
		`cartwheel_http_request_duration_seconds_count{code="402",route="/checkOutCart"} 0`, // there before the first
		`cartwheel_http_request_duration_seconds_count{code="other",route="/checkOutCart"} 1`,
		`cartwheel_http_request_duration_seconds_count{code="other",route="other"} 1`,
		`cartwheel_queue_batch_jobs_sum{queue="cart.add"} 7`,
		`cartwheel_queue_batch_jobs_count{queue="cart.add"} 2`,
		`cartwheel_queue_refused_jobs_total{queue="cart.add",reason="full"} 1`,
		`cartwheel_queue_refused_jobs_total{queue="cart.add",reason="closed"} 1`,
		`cartwheel_queue_depth_jobs{queue="cart.add"} 3`,
		`cartwheel_queue_capacity_jobs{queue="cart.add"} 4096`,
		`cartwheel_transaction_duration_seconds_count{end="unknown"} 1`,
		`cartwheel_transaction_retries_total{error="1213"} 1`,
		`cartwheel_transaction_retries_total{error="1205"} 0`,
		`cartwheel_payment_call_duration_seconds_count{call="charge",outcome="approved"} 1`,
		`cartwheel_payment_call_duration_seconds_count{call="void",outcome="unknown"} 1`,
		`cartwheel_payment_calls_in_flight{call="charge"} 1`,
		`cartwheel_payment_calls_in_flight{call="void"} 0`,
		`cartwheel_payment_retries_total{call="charge"} 1`,
		`cartwheel_payment_breaker_state{state="open"} 1`,
		`cartwheel_payment_breaker_state{state="closed"} 0`,
		`cartwheel_recoveries_total{state="committed"} 1`,
		`cartwheel_recoveries_total{state="cancelling"} 0`,
		`cartwheel_checkouts_total{state="refunding"} 1`,
		`cartwheel_checkouts_total{state="cancelled"} 0`,
		`cartwheel_checkouts_in_flight 7`,
		`cartwheel_checkouts_in_flight_max 100`,
		`cartwheel_http_connections 9`,
		`cartwheel_http_connections_refused_total 2`,
		`cartwheel_audit_inconsistencies 4`,
		`cartwheel_log_records_dropped_total 6`,
		`cartwheel_audit_last_timestamp_seconds 1000`,
		`cartwheel_payment_sandbox 1`,
		`cartwheel_units_sold_total 7`,
		`cartwheel_checkouts_open{state="refunding"} 2`,
		`cartwheel_checkouts_open{state="cancelling"} 0`,
		`cartwheel_checkout_oldest_open_seconds 60`,
		`cartwheel_database_bytes 8`,
		`cartwheel_database_wal_bytes 16`,
		`cartwheel_disk_free_bytes 32`,
		`go_sql_in_use_connections{db_name="cartwheel"} 0`,
		`cartwheel_build_info{version="v1.2.3"} 1`,
	} {
		if !strings.Contains(page, "\n"+want+"\n") {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, foreign := range []string{"go_goroutines", "process_start_time_seconds"} {
		if !strings.Contains(page, "\n"+foreign+" ") {
			t.Errorf("the page lacks %s", foreign)
		}
	}
}

func TestMetrics_answersFeedTheDashboard(t *testing.T) {
	t.Parallel()
	m := setup(t)
	a := m.Answers("/addToCart")
	if a.Codes[200] != 1 || a.Codes[409] != 1 || a.Codes[503] != 1 || a.Codes[404] != 0 {
		t.Errorf("codes %v", a.Codes)
	}
	want := make([]uint64, len(LatencyBounds())+1)
	for i, bound := range LatencyBounds() {
		if bound == .003 || bound == .0075 { // 3 ms and 7 ms; the 503 does not count
			want[i] = 1
		}
	}
	if diff := cmp.Diff(want, a.Latency); diff != "" {
		t.Errorf("latency (-want +got):\n%s", diff)
	}
	if got := m.Levels().Queues[0]; got.Batches != 2 || got.Jobs != 7 || got.Refused != 2 {
		t.Errorf("queue: got %+v, want 2 batches of 7 jobs and 2 refused", got)
	}
	if got := m.Levels().Payments; got != 1 {
		t.Errorf("%d payments in flight, want 1", got)
	}
	if got := m.Levels().Breaker; got != "open" {
		t.Errorf("breaker %q, want open", got)
	}
}

//nolint:paralleltest // what is counted is the whole process's
func TestRequests_countingAllocatesNothing(t *testing.T) {
	m := New("")
	if n := testing.AllocsPerRun(100, func() { m.Answered("/addToCart", 200, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations a request, want none", n)
	}
}

func BenchmarkAnswered(b *testing.B) {
	m := New("")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Answered("/addToCart", 200, 2*time.Millisecond)
		}
	})
}

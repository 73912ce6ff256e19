// Package metrics owns what Cartwheel counts and times: the instruments that its parts are given,
// and the page on which Prometheus reads them. The composition in app is its only maker; the
// dashboard reads the same numbers.
//
// Labels have few values, known beforehand: never a client, a product, a checkout or a raw path.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// namespace begins the name of every metric of our own.
const namespace = "cartwheel"

// maxScrapes is how many readers are served at once; more are told to come back.
const maxScrapes = 4

// Build says what runs.
type Build struct {
	Version   string // of the release
	GoVersion string
}

// Metrics are the instruments of one process. Their methods may be called from any goroutine.
type Metrics struct {
	registry     *prometheus.Registry
	requests     *requests
	queues       *queues
	transactions *transactions
	payments     *payments
	checkouts    *checkouts
	levels       func() Levels // nil before Watch
}

// New makes the instruments, Go's runtime and the process among them.
func New(build Build) *Metrics {
	m := &Metrics{
		registry:     prometheus.NewRegistry(),
		requests:     newRequests(),
		queues:       newQueues(),
		transactions: newTransactions(),
		payments:     newPayments(),
		checkouts:    newCheckouts(),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "What runs, in its labels. Always 1.",
		ConstLabels: prometheus.Labels{"version": build.Version, "go_version": build.GoVersion},
	})
	info.Set(1)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	m.registry.MustRegister(m.requests.latency)
	m.registry.MustRegister(m.queues.all()...)
	m.registry.MustRegister(m.transactions.all()...)
	m.registry.MustRegister(m.payments.all()...)
	m.registry.MustRegister(m.checkouts.moves, m.checkouts.recoveries)
	return m
}

// Handler serves the metrics, in the text format of Prometheus or in OpenMetrics, as it is asked.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// Gatherer is where the metrics can be read in Go.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// WatchSandbox adds whether the payment sandbox approves checkouts outside a demo.
func (m *Metrics) WatchSandbox(used bool) {
	gauge := promauto.With(m.registry).NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: "payment", Name: "sandbox",
		Help: "1: the payment sandbox approves checkouts, no customer is charged, and the server runs without --demo. Otherwise 0.",
	})
	if used {
		gauge.Set(1)
	}
}

// WatchLog adds the number of log records dropped since the start, which dropped returns.
func (m *Metrics) WatchLog(dropped func() int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "log_records_dropped_total",
		Help: "Log records dropped because the reader of standard error was too slow.",
	}, func() float64 { return float64(dropped()) }))
}

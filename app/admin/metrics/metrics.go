// Package metrics owns what Cartwheel counts and times: the instruments that its parts are given,
// and the page on which Prometheus reads them. The composition in app is its only maker; the
// dashboard reads the same numbers.
//
// Labels have few values, known beforehand: never a client, a product, a checkout or a raw path.
package metrics

import (
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// namespace begins the name of every metric of our own.
const namespace = "cartwheel"

// maxScrapes is the maximum number of concurrent scrapes; beyond it the answer is 503.
const maxScrapes = 4

// Metrics are the instruments of one process. Their methods may be called from any goroutine.
type Metrics struct {
	registry *prometheus.Registry
	factory  promauto.Factory // registers what it makes

	routes          map[Route]*Requests
	queues          queues
	moved           *prometheus.CounterVec // checkouts, by the state that they reached
	recovered       *prometheus.CounterVec // tries of recovery, by the state that they reached
	paymentInFlight *prometheus.GaugeVec
	breaker         atomic.Value  // a string: the circuit breaker's state
	levels          func() Levels // nil before Watch
}

// New makes the instruments, Go's runtime and the process among them.
func New(version string) *Metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := &Metrics{registry: registry, factory: promauto.With(registry)}
	m.factory.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "The running version, in its label. Always 1.",
		ConstLabels: prometheus.Labels{"version": version},
	}).Set(1)
	m.routes = newRoutes(m.factory)
	m.queues = newQueues(m.factory)
	m.moved, m.recovered = newCheckouts(m.factory)
	m.paymentInFlight = m.factory.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: "payment", Name: "calls_in_flight", Help: "Calls to the payment gateway in flight.",
	}, []string{"call"})
	m.breaker.Store(breakerClosed)
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
	gauge := m.factory.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: "payment", Name: "sandbox",
		Help: "1: the payment sandbox approves checkouts, no customer is charged, and the server runs without --demo. Otherwise 0.",
	})
	if used {
		gauge.Set(1)
	}
}

// WatchLog adds the number of log records dropped since the start, which dropped returns.
func (m *Metrics) WatchLog(dropped func() int64) {
	m.factory.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "log_records_dropped_total",
		Help: "Log records dropped because the reader of standard error was too slow.",
	}, func() float64 { return float64(dropped()) })
}

// Package metrics owns the metrics: the hooks that count and time events, and the page that
// Prometheus reads. app makes them; the dashboard reads the same numbers.
//
// Labels have few values, known beforehand: never a client, a product, a checkout or a raw path.
// Every series is there from the start, so that the first event of a kind is seen as an increase.
package metrics

import (
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cartwheel/checkout"
)

const (
	// prefix begins the name of every metric of our own.
	prefix = "cartwheel_"
	// maxScrapes is the maximum number of scrapes at once; more are answered 503.
	maxScrapes = 4
)

// Metrics are the instruments of one process. Each method that returns hooks is called at most
// once, before there are requests. The others may be called from any goroutine.
type Metrics struct {
	registry  *prometheus.Registry
	own       prometheus.Registerer                  // adds prefix
	auto      promauto.Factory                       // of own
	latencies map[string]map[int]prometheus.Observer // by route and code; read-only
	queues    map[string]queueMetrics
	levels    func() Levels // zero ones before Watch

	payments atomic.Int64 // calls under way
	breaker  atomic.Pointer[string]
	open     atomic.Pointer[checkout.OpenLevels]
	lag      atomic.Pointer[EventLag]
}

// New makes the metrics of requests, of Go's runtime and of the process.
func New(version string) *Metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	own := prometheus.WrapRegistererWithPrefix(prefix, registry)
	m := &Metrics{
		registry: registry, own: own, auto: promauto.With(own), queues: map[string]queueMetrics{},
		levels: func() Levels { return Levels{} },
	}
	m.breaker.Store(new("closed"))
	m.open.Store(&checkout.OpenLevels{})
	m.latencies = newLatencies(m.auto)
	own.MustRegister(levelCollector{m})
	m.auto.NewGauge(prometheus.GaugeOpts{
		Name: "build_info", Help: "The running version, in its label. Always 1.",
		ConstLabels: prometheus.Labels{"version": version},
	}).Set(1)
	return m
}

// Handler serves the metrics, in the text format of Prometheus or in OpenMetrics, as it is asked.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// Gatherer is where the metrics can be read in Go.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

func (m *Metrics) counter(name, help string) prometheus.Counter {
	return m.auto.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func (m *Metrics) counters(name, help, label string) *prometheus.CounterVec {
	return m.auto.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
}

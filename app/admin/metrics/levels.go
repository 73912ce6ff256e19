package metrics

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cartwheel/checkout"
)

// Levels are the values that each scrape reads. Nothing counts them as they change.
type Levels struct {
	Queues             []Utilization
	Checkouts          Utilization      // in flight, between their admission and their end
	Connections        Utilization      // open ones of the API's listener
	RefusedConnections int64            // since the start
	DroppedRecords     int64            // of the log, since the start
	Audit              *checkout.Report // the last one; nil before the first
	Sandbox            bool             // payments go to the sandbox, and this is no demo
	Disk               *Disk            // nil: the database is on a server
}

// Disk is the room that the embedded engine uses and has, in bytes.
type Disk struct{ Data, WAL, Free int64 }

// Utilization is how much of a limit is used.
type Utilization struct {
	Name        string
	Used, Limit int
}

// Watch makes the metrics that each scrape reads from levels, where the dashboard reads, too, and
// adds those of the pool of connections. It is called once.
func (m *Metrics) Watch(levels func() Levels, pool prometheus.Collector) {
	m.levels = levels
	m.registry.MustRegister(pool)
	gauge := func(name, help string, value func(Levels) float64) {
		m.auto.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(levels()) })
	}
	counter := func(name, help string, value func(Levels) float64) {
		m.auto.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return value(levels()) })
	}
	for i, q := range levels().Queues {
		auto := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"queue": q.Name}, m.own))
		auto.NewGaugeFunc(prometheus.GaugeOpts{Name: "queue_depth_jobs", Help: "Jobs that wait."},
			func() float64 { return float64(levels().Queues[i].Used) })
		auto.NewGauge(prometheus.GaugeOpts{
			Name: "queue_capacity_jobs", Help: "Maximum jobs that wait; beyond it they are refused.",
		}).Set(float64(q.Limit))
	}
	gauge("checkouts_in_flight", "Checkouts between their admission and their end.",
		func(l Levels) float64 { return float64(l.Checkouts.Used) })
	gauge("checkouts_in_flight_max", "Maximum checkouts in flight; beyond it they are refused.",
		func(l Levels) float64 { return float64(l.Checkouts.Limit) })
	gauge("http_connections", "Open connections of the API's listener.",
		func(l Levels) float64 { return float64(l.Connections.Used) })
	gauge("http_connections_max", "Maximum open connections; beyond it they are refused.",
		func(l Levels) float64 { return float64(l.Connections.Limit) })
	counter("http_connections_refused_total", "Connections that were refused because too many were open.",
		func(l Levels) float64 { return float64(l.RefusedConnections) })
	counter("log_records_dropped_total", "Log records dropped because the reader of standard error was too slow.",
		func(l Levels) float64 { return float64(l.DroppedRecords) })
	gauge("audit_inconsistencies", "Inconsistencies that the last audit found. 0 before the first audit.",
		func(l Levels) float64 { return float64(l.audit().Count) })
	gauge("audit_last_timestamp_seconds", "Time of the last audit since the Unix epoch. 0 before the first.",
		func(l Levels) float64 { return float64(l.audit().At.UnixMilli()) / 1e3 })
	gauge("payment_sandbox", "1: payments go to the sandbox, which charges nothing, and this is no demo.",
		func(l Levels) float64 { return boolean(l.Sandbox) })
	if levels().Disk == nil {
		return
	}
	gauge("database_bytes", "Size of the embedded engine's file.", func(l Levels) float64 { return float64(l.Disk.Data) })
	gauge("database_wal_bytes", "Size of the embedded engine's WAL.", func(l Levels) float64 { return float64(l.Disk.WAL) })
	gauge("disk_free_bytes", "Free room on the embedded engine's disk.", func(l Levels) float64 { return float64(l.Disk.Free) })
}

// audit is the last audit, or one at the Unix epoch that found nothing.
func (l Levels) audit() *checkout.Report {
	return cmp.Or(l.Audit, &checkout.Report{At: time.Unix(0, 0)})
}

// boolean is 1 for true and 0 for false.
func boolean(is bool) float64 { return map[bool]float64{true: 1}[is] }

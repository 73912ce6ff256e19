package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"cartwheel/checkout"
)

// Levels are the values that are read when somebody asks, and not counted as they change.
type Levels struct {
	Queues      []Utilization    // always the same ones
	Checkouts   Utilization      // in flight, between their admission and their end
	Connections Utilization      // open ones of the API's listener
	Refused     int64            // connections beyond the limit, since the start
	Audit       *checkout.Report // the last one; nil before the first
}

// A Utilization is how much of something limited is used.
type Utilization struct {
	Name        string
	Used, Limit int
}

// Watch has each scrape, and Levels, read levels. It also adds the pool of database connections. It
// is called once, before anybody reads.
func (m *Metrics) Watch(levels func() Levels, pool prometheus.Collector) {
	m.levels = levels
	m.registry.MustRegister(pool)
	gauge := func(name, help string, labels prometheus.Labels, value func(l Levels) float64) {
		m.factory.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels},
			func() float64 { return value(levels()) })
	}
	for i, q := range levels().Queues {
		labels := prometheus.Labels{"queue": q.Name}
		gauge("queue_depth_jobs", "Jobs that wait.", labels, func(l Levels) float64 { return float64(l.Queues[i].Used) })
		gauge("queue_capacity_jobs", "Maximum jobs that wait; beyond it they are refused.", labels,
			func(l Levels) float64 { return float64(l.Queues[i].Limit) })
	}
	gauge("checkouts_in_flight", "Checkouts between their admission and their end.", nil,
		func(l Levels) float64 { return float64(l.Checkouts.Used) })
	gauge("checkouts_in_flight_max", "Maximum checkouts in flight; beyond it they are refused.", nil,
		func(l Levels) float64 { return float64(l.Checkouts.Limit) })
	gauge("http_connections", "Open connections of the API's listener.", nil,
		func(l Levels) float64 { return float64(l.Connections.Used) })
	gauge("http_connections_max", "Maximum open connections; beyond it they are refused.", nil,
		func(l Levels) float64 { return float64(l.Connections.Limit) })
	m.factory.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "http_connections_refused_total", Help: "Connections refused because the limit was reached.",
	}, func() float64 { return float64(levels().Refused) })
	gauge("audit_inconsistencies", "Inconsistencies that the last audit found. 0 before the first audit.", nil, func(l Levels) float64 {
		if l.Audit == nil {
			return 0
		}
		return float64(l.Audit.Count)
	})
	gauge("audit_last_timestamp_seconds", "When the last audit ended, since the Unix epoch. 0 before the first audit.", nil, func(l Levels) float64 {
		if l.Audit == nil {
			return 0
		}
		return float64(l.Audit.At.UnixMilli()) / 1e3
	})
}

// Levels returns the current levels, or the zero Levels before Watch.
func (m *Metrics) Levels() Levels {
	if m.levels == nil {
		return Levels{}
	}
	return m.levels()
}

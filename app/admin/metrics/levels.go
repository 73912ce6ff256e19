package metrics

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cartwheel/checkout"
)

// Levels are the values that the dashboard and each scrape read. Those from Payments on come from
// hooks: the function that Watch gets leaves them out.
type Levels struct {
	Queues             []QueueLevel     // in the order of the flow
	Checkouts          Utilization      // in flight, between their admission and their end
	Connections        Utilization      // open ones of the API's listener
	RefusedConnections int64            // since the start
	DroppedRecords     int64            // of the log, since the start
	Audit              *checkout.Report // the last one; nil before the first
	Sandbox            bool             // payments go to the sandbox, and this is no demo
	Disk               *Disk            // nil: the database is on a server

	Payments      int                 // calls to the payment service under way
	Breaker       string              // state of the circuit breaker: "closed", "half-open" or "open"
	OpenCheckouts checkout.OpenLevels // of all instances
	Events        *EventLag           // nil before the first measurement, or without a webhook
}

// Disk is the room that the embedded engine uses and has, in bytes.
type Disk struct{ Data, WAL, Free int64 }

// Utilization is how much of a limit is used.
type Utilization struct{ Used, Limit int }

// Filling reports whether four fifths of the limit are used.
func (u Utilization) Filling() bool { return 5*u.Used >= 4*u.Limit }

// A QueueLevel is a queue's waiting jobs, and its work since the start, which comes from hooks.
type QueueLevel struct {
	Utilization

	Name          string
	Batches       uint64
	Jobs, Refused int64
}

// An EventLag is how many sale events are not delivered, and the age of the oldest.
type EventLag struct {
	Undelivered int
	Oldest      time.Duration
}

// Watch sets where the levels are read, and adds the metrics of the pool of connections. It is
// called once.
func (m *Metrics) Watch(levels func() Levels, pool prometheus.Collector) {
	m.levels = levels
	m.registry.MustRegister(pool)
}

// Levels returns the levels of now. Before Watch it returns those of hooks alone.
func (m *Metrics) Levels() Levels {
	l := m.levels()
	l.Payments, l.Breaker = int(m.payments.Load()), *m.breaker.Load()
	l.OpenCheckouts, l.Events = *m.open.Load(), m.lag.Load()
	for i, q := range l.Queues {
		done := m.queues[q.Name]
		jobs := read(done.jobs).GetHistogram()
		refused := read(done.full).GetCounter().GetValue() + read(done.closed).GetCounter().GetValue()
		q.Batches, q.Jobs, q.Refused = jobs.GetSampleCount(), int64(jobs.GetSampleSum()), int64(refused)
		l.Queues[i] = q
	}
	return l
}

// A levelCollector reads the levels once a scrape.
type levelCollector struct{ *Metrics }

// Describe sends nothing: which metrics there are depends on the levels.
func (levelCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c levelCollector) Collect(out chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, value float64, labels prometheus.Labels) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), kind, value)
	}
	gauge := func(name, help string, value float64) { send(prometheus.GaugeValue, name, help, value, nil) }
	counter := func(name, help string, value int64) { send(prometheus.CounterValue, name, help, float64(value), nil) }
	labelled := func(name, help string, value float64, label, is string) {
		send(prometheus.GaugeValue, name, help, value, prometheus.Labels{label: is})
	}
	l := c.Levels()
	for _, q := range l.Queues {
		labelled("queue_depth_jobs", "Jobs that wait.", float64(q.Used), "queue", q.Name)
		labelled("queue_capacity_jobs", "Maximum jobs that wait; beyond it they are refused.",
			float64(q.Limit), "queue", q.Name)
	}
	gauge("checkouts_in_flight", "Checkouts between their admission and their end.", float64(l.Checkouts.Used))
	gauge("checkouts_in_flight_max", "Maximum checkouts in flight; beyond it they are refused.", float64(l.Checkouts.Limit))
	gauge("http_connections", "Open connections of the API's listener.", float64(l.Connections.Used))
	gauge("http_connections_max", "Maximum open connections; beyond it they are refused.", float64(l.Connections.Limit))
	counter("http_connections_refused_total", "Connections that were refused because too many were open.",
		l.RefusedConnections)
	counter("log_records_dropped_total", "Log records dropped because the reader of standard error was too slow.",
		l.DroppedRecords)
	audit := cmp.Or(l.Audit, &checkout.Report{At: time.Unix(0, 0)})
	gauge("audit_inconsistencies", "Inconsistencies that the last audit found. 0 before the first audit.",
		float64(audit.Count))
	gauge("audit_last_timestamp_seconds", "Time of the last audit since the Unix epoch. 0 before the first.",
		float64(audit.At.UnixMilli())/1e3)
	gauge("payment_sandbox", "1: payments go to the sandbox, which charges nothing, and this is no demo.", boolean(l.Sandbox))
	for _, state := range []string{"closed", "half-open", "open"} {
		labelled("payment_breaker_state",
			"The circuit breaker in front of the payment service: 1 for its state, 0 for the others.",
			boolean(l.Breaker == state), "state", state)
	}
	for _, state := range []checkout.State{checkout.Reserved, checkout.Refunding, checkout.Cancelling} {
		labelled("checkouts_open", "Open checkouts of all instances, by state; 10,000 at most.",
			float64(l.OpenCheckouts.Count[state]), "state", string(state))
	}
	gauge("checkout_oldest_open_seconds", "Age of the oldest open checkout of all instances. 0: there is none.",
		l.OpenCheckouts.Oldest.Seconds())
	events := cmp.Or(l.Events, &EventLag{})
	gauge("events_undelivered", "Sale events of all instances that are not delivered; 10,000 of a kind at most.",
		float64(events.Undelivered))
	gauge("event_lag_seconds", "Age of the oldest undelivered sale event, since the sale or its cancellation. "+
		"0: all are delivered.", events.Oldest.Seconds())
	if l.Disk != nil {
		gauge("database_bytes", "Size of the embedded engine's file.", float64(l.Disk.Data))
		gauge("database_wal_bytes", "Size of the embedded engine's WAL.", float64(l.Disk.WAL))
		gauge("disk_free_bytes", "Free room on the embedded engine's disk.", float64(l.Disk.Free))
	}
}

// boolean is 1 for true and 0 for false.
func boolean(is bool) float64 { return map[bool]float64{true: 1}[is] }

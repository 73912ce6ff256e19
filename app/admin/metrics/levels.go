package metrics

import (
	"database/sql"

	"github.com/prometheus/client_golang/prometheus"

	"cartwheel/checkout"
)

// Levels are how things stand at one moment: what is looked at when somebody asks, and not counted
// as it changes.
type Levels struct {
	Queues      []Fill
	Checkouts   Fill             // in flight, between their admission and their end
	Connections Fill             // open ones of the API's listener
	TurnedAway  int64            // connections refused for want of a place, since the start
	Pool        sql.DBStats      // of the connections that transactions run on
	Audit       *checkout.Report // the last one; nil before the first
}

// A Fill is how much there is of something bounded.
type Fill struct {
	Name      string
	Now, Most int
}

// Watch has every scrape, and whoever asks for Levels, read them there. It is called once, before
// anybody reads.
func (m *Metrics) Watch(levels func() Levels) {
	m.levels = levels
	m.registry.MustRegister(&levelCollector{levels})
}

type levelCollector struct{ levels func() Levels }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// These are the levels' metrics.
var (
	queueDepth      = describe("queue_depth_jobs", "Jobs that wait.", "queue")
	queueCapacity   = describe("queue_capacity_jobs", "Jobs that may wait; beyond it they are refused.", "queue")
	checkoutsNow    = describe("checkouts_in_flight", "Checkouts between their admission and their end.")
	checkoutsMost   = describe("checkouts_in_flight_max", "Checkouts that may be in flight; beyond it they are refused.")
	connectionsNow  = describe("http_connections", "Open connections of the API's listener.")
	connectionsMost = describe("http_connections_max", "Connections that may be open; beyond it they are refused.")
	connectionsAway = describe("http_connections_refused_total", "Connections refused for want of a place.")
	auditBreaches   = describe("audit_breaches", "Breaches of the promises that the last audit found. 0 before the first audit.")
	auditLast       = describe("audit_last_timestamp_seconds", "When the books were last checked, since the Unix epoch. 0 before the first audit.")
	poolConnections = describe("database_connections", "Connections that transactions run on, by what they do.", "state")
	poolMost        = describe("database_connections_max", "Connections for transactions that may be open.")
	poolWaits       = describe("database_connection_waits_total", "Transactions that had to wait for a connection.")
	poolWaited      = describe("database_connection_wait_seconds_total", "How long transactions waited for a connection, together.")
)

// Describe implements prometheus.Collector.
func (c *levelCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		queueDepth, queueCapacity, checkoutsNow, checkoutsMost, connectionsNow, connectionsMost, connectionsAway,
		auditBreaches, auditLast, poolConnections, poolMost, poolWaits, poolWaited,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *levelCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value)
	}
	l := c.levels()
	for _, q := range l.Queues {
		gauge(queueDepth, float64(q.Now), q.Name)
		gauge(queueCapacity, float64(q.Most), q.Name)
	}
	gauge(checkoutsNow, float64(l.Checkouts.Now))
	gauge(checkoutsMost, float64(l.Checkouts.Most))
	gauge(connectionsNow, float64(l.Connections.Now))
	gauge(connectionsMost, float64(l.Connections.Most))
	counter(connectionsAway, float64(l.TurnedAway))
	breaches, last := 0.0, 0.0
	if l.Audit != nil {
		breaches, last = float64(l.Audit.Count), float64(l.Audit.At.UnixMilli())/1e3
	}
	gauge(auditBreaches, breaches)
	gauge(auditLast, last)
	gauge(poolConnections, float64(l.Pool.InUse), "in_use")
	gauge(poolConnections, float64(l.Pool.Idle), "idle")
	gauge(poolMost, float64(l.Pool.MaxOpenConnections))
	counter(poolWaits, float64(l.Pool.WaitCount))
	counter(poolWaited, l.Pool.WaitDuration.Seconds())
}

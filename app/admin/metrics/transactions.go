package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cartwheel/database"
)

// transactions times the database's transactions.
type transactions struct {
	duration *prometheus.HistogramVec
	retries  *prometheus.CounterVec
}

// likelyNumbers are the error numbers whose series are there from the start: a deadlock, a lock
// wait that ran out, and a connection that broke.
var likelyNumbers = []string{"1213", "1205", "connection"}

func newTransactions() *transactions {
	t := &transactions{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "transaction_duration_seconds", Buckets: prometheus.ExponentialBuckets(.0002, 2.5, 13),
			Help: "How long transactions took, their further attempts included, by how they ended.",
		}, []string{"end"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "transaction_retries_total",
			Help: "Further attempts of transactions, by the error number of the one that failed.",
		}, []string{"error"}),
	}
	for _, end := range database.Ends() {
		t.duration.WithLabelValues(string(end))
	}
	for _, number := range likelyNumbers {
		t.retries.WithLabelValues(number)
	}
	return t
}

func (t *transactions) all() []prometheus.Collector {
	return []prometheus.Collector{t.duration, t.retries}
}

// Transactions returns what the database reports to.
func (m *Metrics) Transactions() database.Observer {
	durations := map[database.End]prometheus.Observer{} // only read from here on
	for _, end := range database.Ends() {
		durations[end] = m.transactions.duration.WithLabelValues(string(end))
	}
	return database.Observer{
		Transacted: func(end database.End, took time.Duration) { durations[end].Observe(took.Seconds()) },
		Retry:      func(number string) { m.transactions.retries.WithLabelValues(number).Inc() },
	}
}

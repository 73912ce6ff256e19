package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/payment"
	"cartwheel/queue"
)

// queueMetrics are the metrics of one queue that the dashboard reads.
type queueMetrics struct {
	jobs         prometheus.Histogram
	full, closed prometheus.Counter
}

// Queue returns the hooks of the queue with this name. It is called once a queue.
func (m *Metrics) Queue(name string) queue.Observer {
	auto := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"queue": name}, m.own))
	seconds := prometheus.ExponentialBuckets(.0001, 2.5, 12)
	wait := auto.NewHistogram(prometheus.HistogramOpts{
		Name: "queue_wait_seconds", Buckets: seconds,
		Help: "How long the job of a batch that waited longest waited until the batch began.",
	})
	work := auto.NewHistogram(prometheus.HistogramOpts{
		Name: "queue_batch_duration_seconds", Buckets: seconds,
		Help: "How long a batch took, including retries one by one.",
	})
	jobs := auto.NewHistogram(prometheus.HistogramOpts{
		Name: "queue_batch_jobs", Buckets: prometheus.ExponentialBuckets(1, 2, 11), Help: "Jobs in a batch.",
	})
	refused := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "queue_refused_jobs_total", Help: "Jobs that were refused because the queue was full or closed.",
	}, []string{"reason"})
	full, closed := refused.WithLabelValues("full"), refused.WithLabelValues("closed")
	m.queues[name] = queueMetrics{jobs, full, closed}
	return queue.Observer{
		Refused: func(err error) {
			if errors.Is(err, queue.ErrFull) {
				full.Inc()
			} else {
				closed.Inc()
			}
		},
		BatchDone: func(b queue.BatchStats) {
			wait.Observe(b.Waited.Seconds())
			work.Observe(b.Took.Seconds())
			jobs.Observe(float64(b.Jobs))
		},
	}
}

// likelyErrors are the error numbers whose series are there from the start: a deadlock, a lock wait
// that timed out, and a broken connection.
var likelyErrors = []string{"1213", "1205", "connection"}

// Transactions returns the hooks of the database.
func (m *Metrics) Transactions() database.Observer {
	duration := m.auto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "transaction_duration_seconds", Buckets: prometheus.ExponentialBuckets(.0002, 2.5, 13),
		Help: "How long transactions took, including retries, by how they ended.",
	}, []string{"end"})
	for _, end := range database.Ends() {
		duration.WithLabelValues(string(end))
	}
	retries := m.counters("transaction_retries_total",
		"Retries of transactions, by the error number of the attempt that failed.", "error")
	for _, number := range likelyErrors {
		retries.WithLabelValues(number)
	}
	return database.Observer{
		Transacted: func(end database.End, took time.Duration) {
			duration.WithLabelValues(string(end)).Observe(took.Seconds())
		},
		Retry: func(number string) { retries.WithLabelValues(number).Inc() },
	}
}

// outcomesOf are the outcomes of each call to the gateway.
var outcomesOf = map[string][]string{
	"charge": {"approved", "declined", "voided", "not_sent", "cancelled", "unknown"},
	"lookup": {"found", "not_sent", "cancelled", "unknown"},
	"void":   {"approved", "voided", "not_sent", "cancelled", "unknown"},
	"refund": {"refunded", "refused", "not_sent", "cancelled", "unknown"},
}

// Payments returns the hooks of the payment gateway.
func (m *Metrics) Payments() payment.Observer {
	duration := m.auto.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "payment_call_duration_seconds",
		Help:    "How long calls to the payment service took, including retries, by call and outcome.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
	}, []string{"call", "outcome"})
	inFlight := m.auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "payment_calls_in_flight", Help: "Calls to the payment service that are under way.",
	}, []string{"call"})
	retries := m.counters("payment_retries_total", "Retries of calls to the payment service.", "call")
	for call, outcomes := range outcomesOf {
		inFlight.WithLabelValues(call)
		retries.WithLabelValues(call)
		for _, outcome := range outcomes {
			duration.WithLabelValues(call, outcome)
		}
	}
	return payment.Observer{
		Began: func(call string) {
			m.payments.Add(1)
			inFlight.WithLabelValues(call).Inc()
		},
		Called: func(call, outcome string, took time.Duration) {
			m.payments.Add(-1)
			inFlight.WithLabelValues(call).Dec()
			duration.WithLabelValues(call, outcome).Observe(took.Seconds())
		},
		Retried:        func(call string) { retries.WithLabelValues(call).Inc() },
		BreakerChanged: func(state string) { m.breaker.Store(&state) },
	}
}

// Moves returns the hook for states that checkouts reach.
func (m *Metrics) Moves() func(checkout.State) {
	return m.countStates("checkouts_total", "Checkouts that reached a state, by state.")
}

// Sold returns the hook for units that are sold.
func (m *Metrics) Sold() func(units int64) {
	sold := m.counter("units_sold_total", "Units that checkouts have sold. Cancellations do not lower it.")
	return func(units int64) { sold.Add(float64(units)) }
}

// OpenCheckouts returns the hook for the open checkouts.
func (m *Metrics) OpenCheckouts() func(checkout.OpenLevels) {
	return func(levels checkout.OpenLevels) { m.open.Store(&levels) }
}

// Recoveries returns the hook for attempts to finish a checkout whose owner left it.
func (m *Metrics) Recoveries() func(checkout.State) {
	return m.countStates("recoveries_total",
		"Attempts to finish checkouts whose owner left them, by the state reached. Open ones are tried again.",
		checkout.Reserved)
}

// countStates makes a counter of the states after Reserved, and of more.
func (m *Metrics) countStates(name, help string, more ...checkout.State) func(checkout.State) {
	counter := m.counters(name, help, "state")
	for _, state := range append(more,
		checkout.Committed, checkout.RolledBack, checkout.Refunding, checkout.Cancelling, checkout.Cancelled) {
		counter.WithLabelValues(string(state))
	}
	return func(state checkout.State) { counter.WithLabelValues(string(state)).Inc() }
}

// Events returns the hooks of sale events.
func (m *Metrics) Events() checkout.EventObserver {
	return checkout.EventObserver{
		Delivered: m.counter("events_delivered_total", "Sale events that the webhook accepted.").Inc,
		Failed:    m.counter("event_failures_total", "Deliveries that failed. They are retried.").Inc,
		Lag:       func(n int, age time.Duration) { m.lag.Store(&EventLag{n, age}) },
	}
}

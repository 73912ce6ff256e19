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
		Batch: func(b queue.Batch) {
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
	inFlight := m.gauges("payment_calls_in_flight", "Calls to the payment service that are under way.", "call")
	retries := m.counters("payment_retries_total", "Retries of calls to the payment service.", "call")
	for call, outcomes := range outcomesOf {
		inFlight.WithLabelValues(call)
		retries.WithLabelValues(call)
		for _, outcome := range outcomes {
			duration.WithLabelValues(call, outcome)
		}
	}
	for _, state := range []string{"closed", "half-open", "open"} {
		m.auto.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "payment_breaker_state", ConstLabels: prometheus.Labels{"state": state},
			Help: "The circuit breaker in front of the payment service: 1 for its state, 0 for the others.",
		}, func() float64 { return boolean(m.Breaker() == state) })
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

// Open returns the hook for the open checkouts.
func (m *Metrics) Open() func(checkout.OpenLevels) {
	count := m.gauges("checkouts_open", "Open checkouts of all instances, by state; 10,000 at most.", "state")
	oldest := m.gauge("checkout_oldest_open_seconds",
		"Age of the oldest open checkout of all instances. 0: there is none.")
	observe := func(levels checkout.OpenLevels) {
		for _, state := range []checkout.State{checkout.Reserved, checkout.Refunding, checkout.Cancelling} {
			count.WithLabelValues(string(state)).Set(float64(levels.Count[state]))
		}
		oldest.Set(levels.Oldest.Seconds())
	}
	observe(checkout.OpenLevels{})
	return observe
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
	delivered := m.counter("events_delivered_total", "Sale events that the webhook accepted.")
	failed := m.counter("event_failures_total", "Deliveries that failed. They are retried.")
	undelivered := m.gauge("events_undelivered",
		"Sale events of all instances that are not delivered; 10,000 of a kind at most.")
	oldest := m.gauge("event_lag_seconds",
		"Age of the oldest undelivered sale event, since the sale or its cancellation. 0: all are delivered.")
	return checkout.EventObserver{
		Delivered: delivered.Inc,
		Failed:    failed.Inc,
		Lag: func(n int, age time.Duration) {
			undelivered.Set(float64(n))
			oldest.Set(age.Seconds())
			m.lag.Store(&EventLag{n, age})
		},
	}
}

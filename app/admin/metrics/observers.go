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

// Series whose label values are known are made at the start, so that the first event of a kind is
// seen as an increase.

const (
	refusedFull   = "full"
	refusedClosed = "closed"
)

// queues measures the queues' batches and refusals.
type queues struct {
	wait, duration, jobs *prometheus.HistogramVec
	refused              *prometheus.CounterVec
}

func newQueues(factory promauto.Factory) queues {
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return factory.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "queue", Name: name, Help: help, Buckets: buckets,
		}, []string{"queue"})
	}
	seconds := prometheus.ExponentialBuckets(.0001, 2.5, 12)
	return queues{
		wait:     histogram("wait_seconds", "Longest wait among a batch's jobs, until the batch began.", seconds),
		duration: histogram("batch_duration_seconds", "Duration of batches, including retries of single jobs.", seconds),
		jobs:     histogram("batch_jobs", "Jobs in a batch.", prometheus.ExponentialBuckets(1, 2, 11)),
		refused: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: "queue", Name: "refused_jobs_total",
			Help: "Jobs refused because the queue was full or closed.",
		}, []string{"queue", "reason"}),
	}
}

// Queue returns the observer of the queue of this name. It is called before the first request.
func (m *Metrics) Queue(name string) queue.Observer {
	wait, duration, jobs := m.queues.wait.WithLabelValues(name), m.queues.duration.WithLabelValues(name), m.queues.jobs.WithLabelValues(name)
	full, closed := m.queues.refused.WithLabelValues(name, refusedFull), m.queues.refused.WithLabelValues(name, refusedClosed)
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
			duration.Observe(b.Took.Seconds())
			jobs.Observe(float64(b.Jobs))
		},
	}
}

// Transactions returns the database's observer. It is called at most once.
func (m *Metrics) Transactions() database.Observer {
	durations := m.factory.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "transaction_duration_seconds", Buckets: prometheus.ExponentialBuckets(.0002, 2.5, 13),
		Help: "Duration of transactions, including their retries, by how they ended.",
	}, []string{"end"})
	retries := m.factory.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "transaction_retries_total",
		Help: "Retries of transactions, by the error number of the attempt that failed.",
	}, []string{"error"})
	for _, end := range database.Ends() {
		durations.WithLabelValues(string(end))
	}
	for _, number := range []string{"1213", "1205", "connection"} { // a deadlock, a lock timeout, a broken connection
		retries.WithLabelValues(number)
	}
	return database.Observer{
		Transacted: func(end database.End, took time.Duration) {
			durations.WithLabelValues(string(end)).Observe(took.Seconds())
		},
		Retry: func(number string) { retries.WithLabelValues(number).Inc() },
	}
}

// paymentOutcomes are the outcomes of each call to the gateway.
var paymentOutcomes = map[string][]string{
	"charge": {"approved", "declined", "voided", "not_sent", "cancelled", "unknown"},
	"lookup": {"found", "not_sent", "cancelled", "unknown"},
	"void":   {"approved", "voided", "not_sent", "cancelled", "unknown"},
	"refund": {"refunded", "refused", "not_sent", "cancelled", "unknown"},
}

const breakerClosed = "closed"

// Payments returns the payment gateway's observer. It is called at most once.
func (m *Metrics) Payments() payment.Observer {
	durations := m.factory.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: "payment", Name: "call_duration_seconds",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
		Help:    "Duration of calls to the payment gateway, including their retries, by call and outcome.",
	}, []string{"call", "outcome"})
	retries := m.factory.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: "payment", Name: "retries_total", Help: "Retries of calls to the payment gateway.",
	}, []string{"call"})
	for call, outcomes := range paymentOutcomes {
		m.paymentInFlight.WithLabelValues(call)
		retries.WithLabelValues(call)
		for _, outcome := range outcomes {
			durations.WithLabelValues(call, outcome)
		}
	}
	for _, state := range []string{breakerClosed, "half-open", "open"} {
		m.factory.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: "payment", Name: "breaker_state", ConstLabels: prometheus.Labels{"state": state},
			Help: "The circuit breaker in front of the payment gateway: 1 for its state, 0 for the others.",
		}, func() float64 {
			if m.Breaker() == state {
				return 1
			}
			return 0
		})
	}
	return payment.Observer{
		Began: func(call string) { m.paymentInFlight.WithLabelValues(call).Inc() },
		Called: func(call, outcome string, took time.Duration) {
			m.paymentInFlight.WithLabelValues(call).Dec()
			durations.WithLabelValues(call, outcome).Observe(took.Seconds())
		},
		Retried:        func(call string) { retries.WithLabelValues(call).Inc() },
		BreakerChanged: func(state string) { m.breaker.Store(state) },
	}
}

func newCheckouts(factory promauto.Factory) (moved, recovered *prometheus.CounterVec) {
	byState := func(name, help string, states ...checkout.State) *prometheus.CounterVec {
		counters := factory.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{"state"})
		for _, state := range states {
			counters.WithLabelValues(string(state))
		}
		return counters
	}
	moved = byState("checkouts_total", "Checkouts that reached a state, by state.",
		checkout.Committed, checkout.RolledBack, checkout.Refunding, checkout.Cancelling, checkout.Cancelled)
	recovered = byState("recoveries_total",
		"Tries to finish checkouts whose owner left them, by the state that they reached. The unsettled ones are tried again.",
		checkout.Committed, checkout.RolledBack, checkout.Reserved, checkout.Refunding, checkout.Cancelling, checkout.Cancelled)
	return moved, recovered
}

// Moved counts a checkout that reached a state.
func (m *Metrics) Moved(state checkout.State) { m.moved.WithLabelValues(string(state)).Inc() }

// Recovered counts a try to finish a checkout that its owner left.
func (m *Metrics) Recovered(state checkout.State) { m.recovered.WithLabelValues(string(state)).Inc() }

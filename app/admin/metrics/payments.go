package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cartwheel/payment"
)

// outcomesOf are how each call to the gateway may end.
var outcomesOf = map[string][]string{
	"charge": {"approved", "declined", "voided", "not_sent", "cancelled", "unknown"},
	"lookup": {"found", "not_sent", "cancelled", "unknown"},
	"void":   {"approved", "voided", "not_sent", "cancelled", "unknown"},
	"refund": {"refunded", "refused", "not_sent", "cancelled", "unknown"},
}

// The states of the circuit breaker.
var breakerStates = []string{breakerClosed, "half-open", "open"}

const breakerClosed = "closed"

// payments measures the calls to the payment gateway.
type payments struct {
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	retries  *prometheus.CounterVec
	breaker  *prometheus.GaugeVec
	state    atomic.Pointer[string]
	underWay atomic.Int64 // calls of any kind
}

func newPayments() *payments {
	p := &payments{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "payment", Name: "call_duration_seconds",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
			Help:    "How long calls to the payment gateway took, their further attempts included, by call and outcome.",
		}, []string{"call", "outcome"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: "payment", Name: "calls_in_flight", Help: "Calls to the payment gateway that are under way.",
		}, []string{"call"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: "payment", Name: "retries_total", Help: "Further attempts of calls to the payment gateway.",
		}, []string{"call"}),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: "payment", Name: "breaker_state",
			Help: "The circuit breaker in front of the payment gateway: 1 for the state that it is in, 0 for the others.",
		}, []string{"state"}),
	}
	for call, outcomes := range outcomesOf {
		p.inFlight.WithLabelValues(call)
		p.retries.WithLabelValues(call)
		for _, outcome := range outcomes {
			p.duration.WithLabelValues(call, outcome)
		}
	}
	p.broke(breakerClosed)
	return p
}

func (p *payments) all() []prometheus.Collector {
	return []prometheus.Collector{p.duration, p.inFlight, p.retries, p.breaker}
}

// broke notes the breaker's state. The gateway calls it for one change at a time.
func (p *payments) broke(state string) {
	p.state.Store(&state)
	for _, one := range breakerStates {
		is := 0.0
		if one == state {
			is = 1
		}
		p.breaker.WithLabelValues(one).Set(is)
	}
}

// A called is a call to the gateway and how it ended.
type called struct{ call, outcome string }

// Payments returns what the payment gateway reports to.
func (m *Metrics) Payments() payment.Observer {
	p := m.payments
	durations, inFlight := map[called]prometheus.Observer{}, map[string]prometheus.Gauge{} // only read from here on
	for call, outcomes := range outcomesOf {
		inFlight[call] = p.inFlight.WithLabelValues(call)
		for _, outcome := range outcomes {
			durations[called{call, outcome}] = p.duration.WithLabelValues(call, outcome)
		}
	}
	return payment.Observer{
		Began: func(call string) {
			p.underWay.Add(1)
			inFlight[call].Inc()
		},
		Called: func(call, outcome string, took time.Duration) {
			p.underWay.Add(-1)
			inFlight[call].Dec()
			duration, known := durations[called{call, outcome}]
			if !known {
				duration = durations[called{call, "unknown"}]
			}
			duration.Observe(took.Seconds())
		},
		Retried:        func(call string) { p.retries.WithLabelValues(call).Inc() },
		BreakerChanged: p.broke,
	}
}

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"cartwheel/checkout"
)

// checkouts counts the states that checkouts reach, and the tries to finish what an owner left.
type checkouts struct{ moves, recoveries *prometheus.CounterVec }

func newCheckouts() *checkouts {
	return &checkouts{
		moves: newStates("checkouts_total", "Checkouts that reached a state, by state.",
			checkout.Committed, checkout.RolledBack, checkout.Refunding, checkout.Cancelling, checkout.Cancelled),
		recoveries: newStates("recoveries_total",
			"Tries to finish checkouts whose owner left them, by the state that they reached. The unsettled ones are tried again.",
			checkout.Committed, checkout.RolledBack, checkout.Reserved, checkout.Refunding, checkout.Cancelling, checkout.Cancelled),
	}
}

func newStates(name, help string, states ...checkout.State) *prometheus.CounterVec {
	counters := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{"state"})
	for _, state := range states {
		counters.WithLabelValues(string(state))
	}
	return counters
}

// Moved counts a checkout that reached a state.
func (m *Metrics) Moved(state checkout.State) {
	m.checkouts.moves.WithLabelValues(string(state)).Inc()
}

// Recovered counts a try to finish a checkout that its owner left.
func (m *Metrics) Recovered(state checkout.State) {
	m.checkouts.recoveries.WithLabelValues(string(state)).Inc()
}

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"cartwheel/checkout"
)

// recoveries counts the tries to finish what an owner left.
type recoveries struct{ tries *prometheus.CounterVec }

func newRecoveries() *recoveries {
	r := &recoveries{prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "recoveries_total",
		Help: "Tries to finish checkouts whose owner left them, by the state that they reached. The unsettled ones are tried again.",
	}, []string{"state"})}
	for _, state := range []checkout.State{checkout.Committed, checkout.RolledBack, checkout.Reserved, checkout.Refunding} {
		r.tries.WithLabelValues(string(state))
	}
	return r
}

// Recovered counts a try to finish a checkout that its owner left.
func (m *Metrics) Recovered(state checkout.State) {
	m.recoveries.tries.WithLabelValues(string(state)).Inc()
}

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Answers are what a route has answered since the start.
type Answers struct {
	Codes map[int]uint64 // by status code; 0 for the codes that its route is not known to give
	// Latency is how many answers took how long, in the buckets of LatencyBounds; the last one is
	// for the longer ones. What was turned away (429, 503) is not among them.
	Latency []uint64
}

// LatencyBounds are the upper bounds of the latencies' buckets, in seconds.
func LatencyBounds() []float64 { return latencyBuckets }

// Batches are what a queue has done since the start.
type Batches struct{ Batches, Jobs, Refused uint64 }

// Answers returns what a route has answered. It is for a look now and then.
func (m *Metrics) Answers(route Route) Answers {
	a := Answers{Codes: map[int]uint64{}, Latency: make([]uint64, len(latencyBuckets)+1)}
	for code, latency := range m.routes[route].byCode {
		h := read(latency).GetHistogram()
		a.Codes[code] = h.GetSampleCount()
		if code == 429 || code == 503 {
			continue
		}
		below := uint64(0)
		for b, bucket := range h.GetBucket() {
			a.Latency[b] += bucket.GetCumulativeCount() - below
			below = bucket.GetCumulativeCount()
		}
		a.Latency[len(latencyBuckets)] += h.GetSampleCount() - below
	}
	return a
}

// Batches returns what a queue has done.
func (m *Metrics) Batches(queue string) Batches {
	jobs := read(m.queues.jobs.WithLabelValues(queue)).GetHistogram()
	refused := uint64(0)
	for _, reason := range []string{refusedFull, refusedClosed} {
		refused += uint64(read(m.queues.refused.WithLabelValues(queue, reason)).GetCounter().GetValue())
	}
	return Batches{Batches: jobs.GetSampleCount(), Jobs: uint64(jobs.GetSampleSum()), Refused: refused}
}

// PaymentsInFlight returns the number of calls to the payment gateway in flight.
func (m *Metrics) PaymentsInFlight() int {
	calls := 0.0
	for call := range paymentOutcomes {
		calls += read(m.paymentInFlight.WithLabelValues(call)).GetGauge().GetValue()
	}
	return int(calls)
}

// Breaker returns the state of the circuit breaker in front of the payment gateway: "closed",
// "half-open" or "open".
func (m *Metrics) Breaker() string { return m.breaker.Load().(string) }

func read(one any) *dto.Metric {
	var out dto.Metric
	if err := one.(prometheus.Metric).Write(&out); err != nil {
		panic(err) // only of a metric that was made wrong
	}
	return &out
}

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Answers counts the answers of a route since the start.
type Answers struct {
	Codes map[int]uint64 // by status code; 0 for the codes that its route is not known to give
	// Latency counts answers by the buckets of LatencyBounds; the last one is for the longer ones.
	// 429 and 503 are not among them.
	Latency []uint64
}

// LatencyBounds are the upper bounds of the latencies' buckets, in seconds.
func LatencyBounds() []float64 { return latencyBuckets }

// Batches counts the work of a queue since the start.
type Batches struct {
	Batches       uint64
	Jobs, Refused int64
}

// Answers returns what a route has answered.
func (m *Metrics) Answers(route string) Answers {
	a := Answers{Codes: map[int]uint64{}, Latency: make([]uint64, len(latencyBuckets)+1)}
	for code, observer := range m.latencies[route] {
		h := read(observer.(prometheus.Metric)).GetHistogram()
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
	q := m.queues[queue]
	jobs := read(q.jobs).GetHistogram()
	refused := read(q.full).GetCounter().GetValue() + read(q.closed).GetCounter().GetValue()
	return Batches{jobs.GetSampleCount(), int64(jobs.GetSampleSum()), int64(refused)}
}

// PaymentsInFlight returns how many calls to the payment service are under way.
func (m *Metrics) PaymentsInFlight() int { return int(m.payments.Load()) }

// Breaker returns the state of the circuit breaker in front of the payment service: "closed",
// "half-open" or "open".
func (m *Metrics) Breaker() string { return *m.breaker.Load() }

// An EventLag is how many sale events are not delivered, and the age of the oldest.
type EventLag struct {
	Undelivered int
	Oldest      time.Duration
}

// EventLag returns the lag of sale events; nil before the first measurement, or without a webhook.
func (m *Metrics) EventLag() *EventLag { return m.lag.Load() }

// Levels returns the levels of now, or zero ones before Watch.
func (m *Metrics) Levels() Levels { return m.levels() }

func read(one prometheus.Metric) *dto.Metric {
	var out dto.Metric
	if err := one.Write(&out); err != nil {
		panic(err) // only of a metric that was made wrong
	}
	return &out
}

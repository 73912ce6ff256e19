package metrics

import (
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

func read(one prometheus.Metric) *dto.Metric {
	var out dto.Metric
	if err := one.Write(&out); err != nil {
		panic(err) // only of a metric that was made wrong
	}
	return &out
}

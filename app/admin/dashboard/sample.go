package dashboard

import (
	"math"
	"time"

	"cartwheel/app/admin/metrics"
)

// A sample is one second, as the charts draw it. What could not be measured, and what is
// zero, is left out: there are thousands.
type sample struct {
	At        float64            `json:"at"` // seconds since the Unix epoch
	Adds      rates              `json:"adds"`
	Checkouts rates              `json:"checkouts"`
	Batches   map[string]float64 `json:"batches"`  // jobs a batch, by queue
	Payments  int                `json:"payments"` // calls to the payment service under way
	InFlight  int                `json:"inFlight"` // checkouts
}

// rates are answers a second by outcome, and how long they took.
type rates struct {
	Success    float64 `json:"success,omitzero"`    // added, or sold
	Pending    float64 `json:"pending,omitzero"`    // 202
	Declined   float64 `json:"declined,omitzero"`   // 402
	Refused    float64 `json:"refused,omitzero"`    // by a rule: 400, 404, 409 and their like
	TurnedAway float64 `json:"turnedAway,omitzero"` // 429, 503: over a limit, or without database or payment service
	Failed     float64 `json:"failed,omitzero"`     // 500, 504
	P50        float64 `json:"p50,omitzero"`        // milliseconds, of what was not turned away; 0: nothing
	P99        float64 `json:"p99,omitzero"`        // milliseconds
}

// Refusals is how many answers a second were no success and are not pending.
func (r rates) Refusals() float64 { return r.Declined + r.Refused + r.TurnedAway + r.Failed }

// TurnedAway is how many answers a second, of both kinds, said to come back later.
func (s sample) TurnedAway() float64 { return s.Adds.TurnedAway + s.Checkouts.TurnedAway }

// totals are the counters at one time. The difference of two makes a sample.
type totals struct {
	at              time.Time
	adds, checkouts metrics.Answers
	queues          []metrics.QueueLevel
}

func (d *Dashboard) readTotals(levels metrics.Levels) totals {
	return totals{time.Now(), d.metrics.Answers("/addToCart"), d.metrics.Answers("/checkOutCart"), levels.Queues}
}

// sampleBetween returns the sample of the time between two totals.
func sampleBetween(before, now totals, levels metrics.Levels) sample {
	seconds := max(now.at.Sub(before.at).Seconds(), 0.001)
	s := sample{
		At:        float64(now.at.UnixMilli()) / 1e3,
		Adds:      ratesBetween(before.adds, now.adds, seconds),
		Checkouts: ratesBetween(before.checkouts, now.checkouts, seconds),
		Batches:   map[string]float64{},
		Payments:  levels.Payments,
		InFlight:  levels.Checkouts.Used,
	}
	for i, q := range now.queues {
		if n := q.Batches - before.queues[i].Batches; n > 0 {
			s.Batches[q.Name] = rounded(float64(q.Jobs-before.queues[i].Jobs) / float64(n))
		}
	}
	return s
}

func ratesBetween(before, now metrics.Answers, seconds float64) rates {
	var r rates
	for code, n := range now.Codes {
		rate := rounded(float64(n-before.Codes[code]) / seconds)
		switch {
		case code == 499: // the caller left
		case code == 200:
			r.Success += rate
		case code == 202:
			r.Pending += rate
		case code == 402:
			r.Declined += rate
		case code == 429 || code == 503:
			r.TurnedAway += rate
		case code >= 400 && code < 500:
			r.Refused += rate
		default:
			r.Failed += rate
		}
	}
	took := make([]uint64, len(now.Latency))
	for i := range took {
		took[i] = now.Latency[i] - before.Latency[i]
	}
	r.P50, r.P99 = quantile(.5, took), quantile(.99, took)
	return r
}

// quantile estimates a quantile in milliseconds from counts by bucket, as if answers were spread
// evenly in each. Beyond the last bound it is that bound. It is 0 when
// there were none.
func quantile(q float64, counts []uint64) float64 {
	total := 0.0
	for _, n := range counts {
		total += float64(n)
	}
	if total == 0 {
		return 0
	}
	rank, below, from := q*total, 0.0, 0.0
	for i, bound := range metrics.LatencyBounds() {
		n := float64(counts[i])
		if n > 0 && below+n >= rank {
			return rounded(1e3 * (from + (bound-from)*(rank-below)/n))
		}
		below, from = below+n, bound
	}
	return rounded(1e3 * from)
}

// rounded keeps two decimals, so that samples are short.
func rounded(x float64) float64 { return math.Round(100*x) / 100 }

package dashboard

import (
	"time"

	"cartwheel/app/admin/metrics"
)

// A sample is one second, as the charts draw it. A value without measurements is null.
type sample struct {
	At        float64    `json:"at"` // seconds since the Unix epoch
	Adds      rates      `json:"adds"`
	Checkouts rates      `json:"checkouts"`
	Batches   []*float64 `json:"batches"`  // jobs a batch, by queue in the order of the flow
	Payments  int        `json:"payments"` // calls to the gateway under way
	InFlight  int        `json:"inFlight"` // checkouts
}

// rates are answers a second by outcome, and how long they took.
type rates struct {
	Success    float64  `json:"success"`    // added, or sold
	Pending    float64  `json:"pending"`    // 202
	Declined   float64  `json:"declined"`   // 402
	Refused    float64  `json:"refused"`    // by a rule: 400, 404, 409 and their like
	TurnedAway float64  `json:"turnedAway"` // over a limit, or for want of the database or the gateway: 429, 503
	Failed     float64  `json:"failed"`     // 500, 504
	P50        *float64 `json:"p50"`        // milliseconds, of what was not turned away
	P99        *float64 `json:"p99"`        // milliseconds
}

// All is how many answers a second there were.
func (r rates) All() float64 {
	return r.Success + r.Pending + r.Declined + r.Refused + r.TurnedAway + r.Failed
}

// TurnedAway is how many answers a second, of both kinds, said to come back later.
func (s sample) TurnedAway() float64 { return s.Adds.TurnedAway + s.Checkouts.TurnedAway }

// A reading is the counters at one time. Two of them make a sample.
type reading struct {
	at              time.Time
	adds, checkouts metrics.Answers
	batches         map[string]metrics.Batches
}

func (d *Dashboard) read(levels metrics.Levels) reading {
	r := reading{
		at:        time.Now(),
		adds:      d.metrics.Answers(metrics.RouteAddToCart),
		checkouts: d.metrics.Answers(metrics.RouteCheckOutCart),
		batches:   map[string]metrics.Batches{},
	}
	for _, q := range levels.Queues {
		r.batches[q.Name] = d.metrics.Batches(q.Name)
	}
	return r
}

// sampleBetween returns what happened between two readings.
func (d *Dashboard) sampleBetween(before, now reading, levels metrics.Levels) sample {
	seconds := max(now.at.Sub(before.at).Seconds(), 0.001)
	s := sample{
		At:        float64(now.at.UnixMilli()) / 1e3,
		Adds:      ratesBetween(before.adds, now.adds, seconds),
		Checkouts: ratesBetween(before.checkouts, now.checkouts, seconds),
		Batches:   make([]*float64, len(levels.Queues)),
		Payments:  d.metrics.PaymentsInFlight(),
		InFlight:  levels.Checkouts.Used,
	}
	for i, q := range levels.Queues {
		was, is := before.batches[q.Name], now.batches[q.Name]
		if n := is.Batches - was.Batches; n > 0 {
			s.Batches[i] = new(tenth(float64(is.Jobs-was.Jobs) / float64(n)))
		}
	}
	return s
}

func ratesBetween(before, now metrics.Answers, seconds float64) rates {
	var r rates
	for code, n := range now.Codes {
		rate := float64(n-before.Codes[code]) / seconds
		switch {
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
	for _, rate := range []*float64{&r.Success, &r.Pending, &r.Declined, &r.Refused, &r.TurnedAway, &r.Failed} {
		*rate = tenth(*rate)
	}
	took := make([]uint64, len(now.Latency))
	for i := range took {
		took[i] = now.Latency[i] - before.Latency[i]
	}
	r.P50, r.P99 = quantile(.5, took), quantile(.99, took)
	return r
}

// quantile estimates a quantile in milliseconds from counts by bucket: it takes for granted that
// what fell into a bucket is spread evenly in it. What is beyond the last bound is told as that
// bound. Nil: there was nothing.
func quantile(q float64, counts []uint64) *float64 {
	bounds := metrics.LatencyBounds()
	total := uint64(0)
	for _, n := range counts {
		total += n
	}
	if total == 0 {
		return nil
	}
	rank := q * float64(total)
	below, from := 0.0, 0.0
	for i, n := range counts {
		if i == len(bounds) {
			break
		}
		if count := float64(n); count > 0 && below+count >= rank {
			return new(milliseconds(from + (bounds[i]-from)*(rank-below)/count))
		}
		below, from = below+float64(n), bounds[i]
	}
	return new(milliseconds(bounds[len(bounds)-1]))
}

func milliseconds(seconds float64) float64 { return float64(int64(seconds*1e5+.5)) / 100 }

func tenth(x float64) float64 { return float64(int64(x*10+.5)) / 10 }

package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// routeOther counts requests whose path is no route.
const routeOther = "other"

// codesOf are the answers that each route is known to give: their series are there from the start,
// so that the first answer of a kind is seen as an increase. Any other code is counted as "other".
var codesOf = map[string][]int{
	"/addToCart":      changeCodes,
	"/updateCart":     changeCodes,
	"/emptyCart":      changeCodes,
	"/mergeCarts":     changeCodes,
	"/checkOutCart":   append([]int{202, 402, 412}, changeCodes...),
	"/cancelCheckout": append([]int{202}, changeCodes...),
	"/cart":           lookupCodes,
	"/stock":          lookupCodes,
	"/checkout":       lookupCodes,
	"/checkouts":      lookupCodes,
	"/healthz":        {200, 405},
	"/readyz":         {200, 405, 503},
	"/documentation":  {200, 301, 304, 404, 405},
	routeOther:        {204, 404, 405, 429},
}

var (
	changeCodes = []int{200, 400, 401, 404, 405, 409, 413, 415, 422, 429, 499, 500, 503, 504}
	lookupCodes = []int{200, 400, 401, 404, 405, 429, 499, 500, 503, 504}
)

// codeOther is the label of a code that its route is not known to give.
const codeOther = 0

// latencyBuckets are the upper bounds of the latency histograms, in seconds. Where most requests
// fall, each is at most half above the one before: the dashboard's quantiles are as exact.
var latencyBuckets = []float64{
	.00025, .0005, .00075, .001, .0015, .002, .003, .004, .005, .0075, .01, .015, .02, .03, .05, .075,
	.1, .15, .25, .375, .5, .75, 1, 1.5, 2.5, 5, 10, 15,
}

// newLatencies returns the histograms of request durations, by route and code.
func newLatencies(auto promauto.Factory) map[string]map[int]prometheus.Observer {
	latency := auto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "http_request_duration_seconds", Buckets: latencyBuckets,
		Help: "Duration of requests, from the end of their head to the answer, by route and status code.",
	}, []string{"route", "code"})
	latencies := map[string]map[int]prometheus.Observer{}
	for route, codes := range codesOf {
		latencies[route] = map[int]prometheus.Observer{codeOther: latency.WithLabelValues(route, "other")}
		for _, code := range codes {
			latencies[route][code] = latency.WithLabelValues(route, strconv.Itoa(code))
		}
	}
	return latencies
}

// Answered counts a request of a route that was answered with code after the time took. It
// allocates nothing.
func (m *Metrics) Answered(route string, code int, took time.Duration) {
	byCode, known := m.latencies[route]
	if !known {
		byCode = m.latencies[routeOther]
	}
	latency, known := byCode[code]
	if !known {
		latency = byCode[codeOther]
	}
	latency.Observe(took.Seconds())
}

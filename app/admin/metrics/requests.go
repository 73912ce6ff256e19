package metrics

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The routes that requests are counted by. What is none of them is counted as RouteOther.
const (
	RouteAddToCart      Route = "/addToCart"
	RouteUpdateCart     Route = "/updateCart"
	RouteEmptyCart      Route = "/emptyCart"
	RouteMergeCarts     Route = "/mergeCarts"
	RouteCheckOutCart   Route = "/checkOutCart"
	RouteCancelCheckout Route = "/cancelCheckout"
	RouteCart           Route = "/cart"
	RouteStock          Route = "/stock"
	RouteCheckout       Route = "/checkout"
	RouteCheckouts      Route = "/checkouts"
	RouteHealthz        Route = "/healthz"
	RouteReadyz         Route = "/readyz"
	RouteDocumentation  Route = "/documentation"
	RouteOther          Route = "other"
)

// A Route is a path of the API, as a label.
type Route string

// codesOf are the answers that each route is known to give: their series are there from the start,
// so that the first answer of a kind is seen as an increase. Any other code is counted as "other".
var codesOf = map[Route][]int{
	RouteAddToCart:      changeCodes,
	RouteUpdateCart:     changeCodes,
	RouteEmptyCart:      changeCodes,
	RouteMergeCarts:     changeCodes,
	RouteCheckOutCart:   append([]int{202, 402, 412}, changeCodes...),
	RouteCancelCheckout: append([]int{202}, changeCodes...),
	RouteCart:           lookupCodes,
	RouteStock:          lookupCodes,
	RouteCheckout:       lookupCodes,
	RouteCheckouts:      lookupCodes,
	RouteHealthz:        {200, 405},
	RouteReadyz:         {200, 405, 503},
	RouteDocumentation:  {200, 301, 304, 404, 405},
	RouteOther:          {204, 404, 405, 429},
}

var (
	changeCodes = []int{200, 400, 401, 404, 405, 409, 413, 415, 422, 429, 499, 500, 503, 504}
	lookupCodes = []int{200, 400, 401, 404, 405, 429, 499, 500, 503, 504}
)

// codeOther is the label of a code that its route is not known to give.
const codeOther = 0

// latencyBuckets are the upper bounds of what a request is seen to take, in seconds. Where most
// requests fall they stand half apart or less, which is how close the quantiles of the dashboard
// are.
var latencyBuckets = []float64{
	.00025, .0005, .00075, .001, .0015, .002, .003, .004, .005, .0075, .01, .015, .02, .03, .05, .075,
	.1, .15, .25, .375, .5, .75, 1, 1.5, 2.5, 5, 10, 15,
}

// Requests times the requests of one route, by code.
type Requests struct {
	byCode map[int]prometheus.Observer // read-only, so that a request allocates nothing
}

func newRoutes(auto promauto.Factory) map[Route]*Requests {
	latency := auto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "http_request_duration_seconds", Buckets: latencyBuckets,
		Help: "Duration of requests, from the end of their head to the answer, by route and status code.",
	}, []string{"route", "code"})
	routes := map[Route]*Requests{}
	for route, codes := range codesOf {
		byCode := map[int]prometheus.Observer{codeOther: latency.WithLabelValues(string(route), "other")}
		for _, code := range codes {
			byCode[code] = latency.WithLabelValues(string(route), strconv.Itoa(code))
		}
		routes[route] = &Requests{byCode}
	}
	return routes
}

// Answered counts a request that was answered with code after so long. It allocates nothing.
func (r *Requests) Answered(code int, took time.Duration) {
	latency, known := r.byCode[code]
	if !known {
		latency = r.byCode[codeOther]
	}
	latency.Observe(took.Seconds())
}

// Routes returns all routes.
func Routes() []Route { return slices.Collect(maps.Keys(codesOf)) }

// Requests returns what times the requests of a route.
func (m *Metrics) Requests(route Route) *Requests { return m.routes[route] }

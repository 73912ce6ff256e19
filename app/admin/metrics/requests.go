package metrics

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

const (
	firstCode = 100
	codes     = 500 // from firstCode on
)

// latencyBuckets are the upper bounds of what a request is seen to take, in seconds. Where most
// requests fall they stand half apart or less, which is how close the quantiles of the dashboard
// are.
var latencyBuckets = []float64{
	.00025, .0005, .00075, .001, .0015, .002, .003, .004, .005, .0075, .01, .015, .02, .03, .05, .075, .1, .15, .25, .375, .5, .75,
	1, 1.5, 2.5, 5, 10, 15,
}

// requests times the requests by route and code.
type requests struct {
	latency *prometheus.HistogramVec
	routes  map[Route]*Requests
}

func newRequests() *requests {
	r := &requests{
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "http_request_duration_seconds", Buckets: latencyBuckets,
			Help: "How long requests took, from the end of their head to the answer, by route and status code.",
		}, []string{"route", "code"}),
		routes: map[Route]*Requests{},
	}
	for route, known := range codesOf {
		r.routes[route] = newRouteRequests(r.latency.MustCurryWith(prometheus.Labels{"route": string(route)}), known)
	}
	return r
}

// Requests times the requests of one route.
type Requests struct {
	known    []int // and codeOther
	children []prometheus.Observer
	byCode   [codes]prometheus.Observer // resolved once: a request costs no look-up and no memory
}

func newRouteRequests(latency prometheus.ObserverVec, known []int) *Requests {
	r := &Requests{known: append(slices.Clone(known), codeOther)}
	for _, code := range r.known {
		r.children = append(r.children, latency.WithLabelValues(codeLabel(code)))
	}
	other := r.children[len(r.children)-1]
	for i := range r.byCode {
		r.byCode[i] = other
		if at := slices.Index(known, firstCode+i); at >= 0 {
			r.byCode[i] = r.children[at]
		}
	}
	return r
}

func codeLabel(code int) string {
	if code == codeOther {
		return "other"
	}
	return string([]byte{'0' + byte(code/100), '0' + byte(code/10%10), '0' + byte(code%10)})
}

// Answered counts a request that was answered with code after so long. It allocates nothing.
func (r *Requests) Answered(code int, took time.Duration) {
	if code < firstCode || code >= firstCode+codes {
		code = http.StatusInternalServerError // nothing was sent that HTTP knows
	}
	r.byCode[code-firstCode].Observe(took.Seconds())
}

// Routes returns all routes.
func Routes() []Route { return slices.Collect(maps.Keys(codesOf)) }

// Requests returns what times the requests of a route.
func (m *Metrics) Requests(route Route) *Requests { return m.requests.routes[route] }

package app

import (
	"time"

	"github.com/labstack/echo/v4"

	"cartwheel/app/metrics"
)

// latencies tells the metrics of every request. It allocates nothing.
type latencies struct {
	routes map[string]*metrics.Requests // by path as registered, and as requested where that is the same
	other  *metrics.Requests
}

// newLatencies takes nil for metrics that nobody reads.
func newLatencies(m *metrics.Metrics) *latencies {
	if m == nil {
		m = metrics.New(metrics.Build{})
	}
	return &latencies{
		routes: map[string]*metrics.Requests{
			pathAddToCart:            m.Requests(metrics.RouteAddToCart),
			pathCheckOutCart:         m.Requests(metrics.RouteCheckOutCart),
			pathHealthz:              m.Requests(metrics.RouteHealthz),
			pathReadyz:               m.Requests(metrics.RouteReadyz),
			pathDocumentation:        m.Requests(metrics.RouteDocumentation),
			pathDocumentation + "/*": m.Requests(metrics.RouteDocumentation),
		},
		other: m.Requests(metrics.RouteOther),
	}
}

// answered notes a request that is over.
func (l *latencies) answered(c echo.Context, began time.Time) {
	route := l.routes[c.Path()]
	if route == nil { // refused before it was routed
		route = l.routes[c.Request().URL.Path]
	}
	if route == nil {
		route = l.other
	}
	route.Answered(c.Response().Status, time.Since(began))
}

package api

import (
	"time"

	"github.com/labstack/echo/v4"

	"cartwheel/app/admin/metrics"
)

// requestMetrics reports every request to the metrics. It allocates nothing.
type requestMetrics struct {
	routes map[string]*metrics.Requests // by path as registered, and as requested where that is the same
	other  *metrics.Requests
}

// newRequestMetrics accepts nil: nothing is reported then.
func newRequestMetrics(m *metrics.Metrics) *requestMetrics {
	if m == nil {
		m = metrics.New("")
	}
	l := &requestMetrics{routes: map[string]*metrics.Requests{}, other: m.Requests(metrics.RouteOther)}
	for _, route := range metrics.Routes() {
		l.routes[string(route)] = m.Requests(route)
	}
	l.routes[PathDocumentation+"/*"] = m.Requests(metrics.RouteDocumentation)
	return l
}

// answered reports a request that has ended.
func (l *requestMetrics) answered(c echo.Context, began time.Time) {
	route := l.routes[c.Path()]
	if route == nil { // refused before it was routed
		route = l.routes[c.Request().URL.Path]
	}
	if route == nil {
		route = l.other
	}
	route.Answered(c.Response().Status, time.Since(began))
}

// Package dashboard owns the page on which people watch one instance: rates, latencies, queues,
// payments, stock, open checkouts and the last audit, once a second. The admin listener in app
// serves it.
//
// It looks only while somebody watches: one collector serves all viewers, and without one nothing
// is read.
package dashboard

import (
	"context"
	"embed"
	"net/http"
	"path"
	"sync"

	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
	"cartwheel/inventory"
)

// These are the dashboard's paths. All but the page itself are below pathFiles.
const (
	pathPage   = "/"
	pathFiles  = "/dashboard/"
	pathEvents = pathFiles + "events"
)

const (
	// openRows is the maximum of open checkouts that are shown.
	openRows = 25
	// stockRows is the maximum of products that are shown.
	stockRows = 50
)

// contentPolicy lets the page have what this listener serves, and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// shop is what the dashboard reads of the database.
type shop interface {
	LowestStock(ctx context.Context, limit int) ([]inventory.Product, error)
	OpenCheckouts(ctx context.Context, limit int) ([]checkout.Entry, error)
}

// About says which instance the page is about.
type About struct {
	Version, Engine, Gateway string
	// Sandbox warns that the payment sandbox approves checkouts outside a demo.
	Sandbox bool
}

// A Dashboard serves the page and its events. Its methods may be called from any goroutine.
type Dashboard struct {
	about   About
	metrics *metrics.Metrics
	open    cache[checkoutView]
	stock   cache[inventory.Product]

	ending context.Context // ends with Close
	end    context.CancelFunc
	tasks  sync.WaitGroup // the collector

	mu         sync.Mutex
	viewers    map[*viewer]struct{} // under mu
	collecting bool                 // under mu: the collector runs
	history    []sample             // under mu: the latest, oldest first
}

// New returns a dashboard, which does nothing until somebody looks. Close ends it.
func New(shop shop, m *metrics.Metrics, about About) *Dashboard {
	d := &Dashboard{
		about: about, metrics: m, viewers: map[*viewer]struct{}{},
		open:  cache[checkoutView]{read: openCheckouts(shop), rows: openRows},
		stock: cache[inventory.Product]{read: lowestStock(shop), rows: stockRows},
	}
	d.ending, d.end = context.WithCancel(context.Background())
	return d
}

// Close sends the viewers away and waits for the collector. A repeat is harmless.
func (d *Dashboard) Close() {
	d.mu.Lock() // no collector starts after this
	d.end()
	d.mu.Unlock()
	d.tasks.Wait()
}

//go:embed page/dashboard.css page/dashboard.js page/icon.svg uplot/uPlot.iife.min.js uplot/uPlot.min.css
var embedded embed.FS

// Register adds the dashboard's routes.
func (d *Dashboard) Register(routes *http.ServeMux) {
	routes.Handle("GET "+pathPage+"{$}", guarded(http.HandlerFunc(d.page)))
	routes.Handle("GET "+pathEvents, guarded(http.HandlerFunc(d.events)))
	for _, file := range []string{"page/dashboard.css", "page/dashboard.js", "page/icon.svg", "uplot/uPlot.iife.min.js", "uplot/uPlot.min.css"} {
		content, err := embedded.ReadFile(file)
		if err != nil {
			panic(err) // it is embedded
		}
		name := path.Base(file)
		routes.Handle("GET "+pathFiles+name, guarded(asset(name, content)))
	}
}

// guarded sets what every answer of the dashboard tells browsers.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

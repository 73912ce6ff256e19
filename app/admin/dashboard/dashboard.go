// Package dashboard owns the page on which people watch one instance: rates, latencies, queues,
// payments, stock, open checkouts and the last audit, once a second. The admin listener in app
// serves it.
//
// It reads only while there are viewers: one collector serves all of them.
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
	// maxProducts is the maximum number of products on the page.
	maxProducts = 50
	// maxOpenCheckouts is the maximum number of open checkouts on the page.
	maxOpenCheckouts = 25
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
	stock   cache[inventory.Product]
	open    cache[checkout.Entry]

	ending context.Context // ends with Close
	end    context.CancelFunc
	tasks  sync.WaitGroup // the collector

	mu         sync.Mutex
	viewers    map[*viewer]struct{} // under mu
	collecting bool                 // under mu: the collector runs
	history    []sample             // under mu: the latest, oldest first
}

// New returns a dashboard, which does nothing until the first viewer. Close ends it.
func New(shop shop, m *metrics.Metrics, about About) *Dashboard {
	d := &Dashboard{
		about: about, metrics: m,
		stock:   cache[inventory.Product]{query: shop.LowestStock, limit: maxProducts},
		open:    cache[checkout.Entry]{query: shop.OpenCheckouts, limit: maxOpenCheckouts},
		viewers: map[*viewer]struct{}{},
	}
	d.ending, d.end = context.WithCancel(context.Background())
	return d
}

// Close disconnects the viewers and waits for the collector. A repeat is harmless.
func (d *Dashboard) Close() {
	d.mu.Lock() // no collector starts after this
	d.end()
	d.mu.Unlock()
	d.tasks.Wait()
}

// assets are the files of the page, with their content types: those that package mime knows differ
// between machines.
var assets = map[string]string{
	"page/dashboard.css":      "text/css; charset=utf-8",
	"page/dashboard.js":       "text/javascript; charset=utf-8",
	"page/icon.svg":           "image/svg+xml",
	"uplot/uPlot.iife.min.js": "text/javascript; charset=utf-8",
	"uplot/uPlot.min.css":     "text/css; charset=utf-8",
}

//go:embed page/dashboard.css page/dashboard.js page/icon.svg uplot/uPlot.iife.min.js uplot/uPlot.min.css
var embedded embed.FS

// Register adds the dashboard's routes.
func (d *Dashboard) Register(routes *http.ServeMux) {
	routes.Handle("GET "+pathPage+"{$}", guarded(http.HandlerFunc(d.page)))
	routes.Handle("GET "+pathEvents, guarded(http.HandlerFunc(d.events)))
	for file, contentType := range assets {
		content, err := embedded.ReadFile(file)
		if err != nil {
			panic(err) // it is embedded
		}
		routes.Handle("GET "+pathFiles+path.Base(file), guarded(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write(content) // an error means that the browser left
		})))
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

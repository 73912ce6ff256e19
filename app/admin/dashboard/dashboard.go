// Package dashboard owns the page on which people watch one instance: rates, latencies, queues,
// payments, stock, open checkouts and the last audit, once a second. The admin listener serves it.
//
// One collector serves all viewers. Without a viewer it does not run, and nothing is read.
package dashboard

import (
	"context"
	"embed"
	"io/fs"
	"net/http"
	"path"
	"sync"

	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
	"cartwheel/inventory"
)

const (
	pathFiles   = "/dashboard/"
	pathEvents  = pathFiles + "events"
	pathRunbook = "/runbook"

	// maxProducts is the maximum number of products on the page.
	maxProducts = 50
	// maxOpenCheckouts is the maximum number of open checkouts on the page.
	maxOpenCheckouts = 25

	// contentPolicy lets the page load what this listener serves, and nothing else.
	contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// shop is what the dashboard reads of the database.
type shop interface {
	LowestStock(ctx context.Context, limit int) ([]inventory.Product, error)
	OpenCheckouts(ctx context.Context, limit int) ([]checkout.Entry, error)
}

// About says which instance the page is about.
type About struct{ Version, Engine, Gateway string }

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
		about: about, metrics: m, viewers: map[*viewer]struct{}{},
		stock: cache[inventory.Product]{query: shop.LowestStock, limit: maxProducts},
		open:  cache[checkout.Entry]{query: shop.OpenCheckouts, limit: maxOpenCheckouts},
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

//go:embed page/*.css page/*.js page/*.svg uplot/*.css uplot/*.js
var assets embed.FS

// contentTypes are named here, not looked up: the machine's tables differ.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// Handler serves the page at / and the rest below /dashboard/.
func (d *Dashboard) Handler() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /{$}", d.page)
	routes.HandleFunc("GET "+pathEvents, d.events)
	routes.HandleFunc("GET "+pathRunbook, runbook)
	files, _ := fs.Glob(assets, "*/*") // the pattern is valid
	for _, file := range files {
		routes.HandleFunc("GET "+pathFiles+path.Base(file), func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentTypes[path.Ext(file)])
			http.ServeFileFS(w, r, assets, file)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		routes.ServeHTTP(w, r)
	})
}

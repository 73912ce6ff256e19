// Package dashboard owns the page on which people watch one instance: rates, latencies, queues,
// payments, stock, open checkouts and the last audit, once a second. The admin listener serves it.
//
// One collector serves all viewers, and records the last hour also when nobody watches. Only for
// viewers the database is read.
package dashboard

import (
	"context"
	"embed"
	"io/fs"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
	"cartwheel/inventory"
)

const (
	pathFiles  = "/dashboard/"
	pathUpdate = pathFiles + "update"

	// maxProducts is the maximum number of products on the page.
	maxProducts = 50
	// maxOpenCheckouts is the maximum number of open checkouts on the page.
	maxOpenCheckouts = 25
	// maxRecentCheckouts is the number of newest checkouts that are searched for failed ones.
	maxRecentCheckouts = 200

	// contentPolicy lets the page load what this listener serves, and nothing else.
	contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// shop has the dashboard's reads of the database.
type shop interface {
	LowestStock(ctx context.Context, limit int) ([]inventory.Product, error)
	OpenCheckouts(ctx context.Context, limit int) ([]checkout.Entry, error)
	RecentCheckouts(ctx context.Context, limit int) ([]checkout.Entry, error)
	// Ready returns why the instance is not ready, or nil.
	Ready(ctx context.Context) error
}

// About says which instance the page is about.
type About struct{ Version, Engine, Gateway string }

// A Dashboard serves the page and its updates. Its methods may be called from any goroutine.
type Dashboard struct {
	about    About
	metrics  *metrics.Metrics
	ready    func(context.Context) error
	notReady atomic.Pointer[string] // why the instance is not ready; nil: it is, or nobody watches
	stock    cache[inventory.Product]
	open     cache[checkout.Entry]
	recent   cache[checkout.Entry]

	mu       sync.Mutex
	asked    time.Time         // when a viewer asked last; under mu
	history  []sample          // of the last hour, oldest first; under mu
	rendered map[string]string // the parts of the page as of the last sample; nil: nobody watched; under mu
}

// New returns a dashboard that records nothing before Run.
func New(shop shop, m *metrics.Metrics, about About) *Dashboard {
	return &Dashboard{
		about: about, metrics: m, ready: shop.Ready,
		stock:  cache[inventory.Product]{query: shop.LowestStock, limit: maxProducts},
		open:   cache[checkout.Entry]{query: shop.OpenCheckouts, limit: maxOpenCheckouts},
		recent: cache[checkout.Entry]{query: shop.RecentCheckouts, limit: maxRecentCheckouts},
	}
}

// Run records samples until ctx ends.
func (d *Dashboard) Run(ctx context.Context) {
	var refresher sync.WaitGroup
	refresher.Go(func() { d.refresh(ctx) })
	d.collect(ctx)
	refresher.Wait()
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
	routes.HandleFunc("GET "+pathUpdate, d.update)
	routes.HandleFunc("GET /runbook", runbook)
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

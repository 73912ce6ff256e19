package dashboard

import (
	"bytes"
	"context"
	_ "embed" // the template
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"

	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
	"cartwheel/inventory"
)

//go:embed page/dashboard.html
var pageText string

// pages are the page and its parts, each of which can be rendered alone. Everything that comes from
// outside is escaped here and nowhere else: the browser only puts in what it is sent.
var pages = template.Must(template.New("page").Funcs(template.FuncMap{
	"count": func(n any) string { return humanize.Comma(toInt(n)) },
	"rate":  rateText,
	"ms":    millisecondsText,
	"ago":   func(t time.Time) string { return ageText(time.Since(t)) },
	"clock": func(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" },
}).Parse(pageText))

// parts are the parts of the page that every event brings anew: templates, and the elements' IDs.
var parts = []string{"figures", "queues", "open", "audit", "stock"}

// A view is what the page shows.
type view struct {
	About
	Sample *sample // nil before anything was measured
	Queues []queueView
	Levels metrics.Levels
	// Breaker is the state of the circuit breaker in front of the payment gateway.
	Breaker string
	Open    table[checkoutView]
	Stock   table[inventory.Product]
}

// A queueView is a queue and how full it is.
type queueView struct {
	metrics.Fill

	Percent int
	Batch   *float64 // jobs a batch, in the last second
	Refused uint64
}

// Status says in a word how full the queue is.
func (q queueView) Status() string {
	switch {
	case q.Now >= q.Most:
		return "full"
	case q.Percent >= 80:
		return "filling"
	}
	return "ok"
}

func (d *Dashboard) view(m *sample, levels metrics.Levels) view {
	v := view{
		About: d.about, Sample: m, Levels: levels, Breaker: d.metrics.Breaker(),
		Open: d.open.cached(), Stock: d.stock.cached(),
	}
	for i, q := range levels.Queues {
		one := queueView{Fill: q, Refused: d.metrics.Batches(q.Name).Refused}
		if q.Most > 0 {
			one.Percent = min(100, (100*q.Now+q.Most-1)/q.Most)
		}
		if m != nil {
			one.Batch = m.Batches[i]
		}
		v.Queues = append(v.Queues, one)
	}
	return v
}

// fragments renders the parts of the page for every viewer at once.
func (d *Dashboard) fragments(m sample, levels metrics.Levels) map[string]string {
	v := d.view(&m, levels)
	rendered := make(map[string]string, len(parts))
	for _, part := range parts {
		var text bytes.Buffer
		if err := pages.ExecuteTemplate(&text, part, v); err != nil {
			panic(err) // the templates fit the view: every test renders them
		}
		rendered[part] = text.String()
	}
	return rendered
}

// page renders the whole page, with what is known at once.
func (d *Dashboard) page(w http.ResponseWriter, r *http.Request) {
	d.open.get(r.Context())
	d.stock.get(r.Context())
	var text bytes.Buffer
	if err := pages.ExecuteTemplate(&text, "page", d.view(nil, d.metrics.Levels())); err != nil {
		panic(err) // as in fragments
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = text.WriteTo(w) // the browser left: nobody to tell
}

// A checkoutView is an open checkout as a row.
type checkoutView struct {
	checkout.Entry

	Units int64
}

// Claims is how often the checkout was taken over from an owner that left it.
func (c checkoutView) Claims() int {
	if c.State == checkout.Cancelling {
		return c.Epoch - 2 // a cancellation begins under an epoch of its own
	}
	return c.Epoch - 1
}

// openCheckouts reads the open checkouts.
func openCheckouts(shop shop) func(context.Context, int) ([]checkoutView, error) {
	return func(ctx context.Context, limit int) ([]checkoutView, error) {
		open, err := shop.OpenCheckouts(ctx, limit)
		rows := make([]checkoutView, len(open))
		for i, e := range open {
			rows[i].Entry = e
			for _, line := range e.Lines {
				rows[i].Units += line.Quantity
			}
		}
		return rows, err
	}
}

// lowestStock reads the products of which the least is available.
func lowestStock(shop shop) func(context.Context, int) ([]inventory.Product, error) {
	return func(ctx context.Context, limit int) ([]inventory.Product, error) { return shop.LowestStock(ctx, limit) }
}

func toInt(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	case uint64:
		return int64(n)
	}
	panic("count: not a number that is counted")
}

// rateText is a rate for a tile: whole from ten on.
func rateText(perSecond float64) string {
	if perSecond >= 10 || perSecond == 0 {
		return humanize.Comma(int64(perSecond + .5))
	}
	return strconv.FormatFloat(perSecond, 'f', 1, 64)
}

// millisecondsText is a latency with the digits that mean something.
func millisecondsText(ms *float64) string {
	switch {
	case ms == nil:
		return "–"
	case *ms >= 1000:
		return strconv.FormatFloat(*ms/1000, 'f', 2, 64) + " s"
	case *ms >= 10:
		return strconv.FormatFloat(*ms, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(*ms, 'f', 1, 64) + " ms"
}

// ageText is how long ago something was, in its largest unit.
func ageText(age time.Duration) string {
	age = max(0, age)
	switch {
	case age < 2*time.Minute:
		return strconv.Itoa(int(age.Seconds())) + " s"
	case age < 2*time.Hour:
		return strconv.Itoa(int(age.Minutes())) + " min"
	case age < 48*time.Hour:
		return strconv.Itoa(int(age.Hours())) + " h"
	}
	return strconv.Itoa(int(age.Hours()/24)) + " d"
}

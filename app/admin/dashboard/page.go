package dashboard

import (
	"bytes"
	_ "embed" // the template
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
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
var parts = []string{"figures", "queues", "open", "audit", "shelf"}

// A view is what the page shows.
type view struct {
	About
	Search string
	Moment *moment // nil before anything was measured
	Queues []queueView
	Levels metrics.Levels
	// Breaker is the state of the circuit breaker in front of the payment gateway.
	Breaker string
	Open    openCheckouts
	Stock   listing
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

func (d *Dashboard) view(m *moment, levels metrics.Levels) view {
	v := view{
		About: d.about, Moment: m, Levels: levels, Breaker: d.metrics.Breaker(), Open: d.ledger.look(),
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
	v.Stock, _ = d.shelf.remembered("")
	return v
}

// fragments renders the parts of the page for every viewer at once.
func (d *Dashboard) fragments(m moment, levels metrics.Levels) map[string]string {
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
	v := d.view(nil, d.metrics.Levels())
	v.Search = searchOf(r)
	d.ledger.refresh(r.Context())
	v.Open = d.ledger.look()
	v.Stock = d.shelf.look(r.Context(), v.Search)
	write(w, "page", v)
}

// stock renders the products that a search finds.
func (d *Dashboard) stock(w http.ResponseWriter, r *http.Request) {
	v := view{Search: searchOf(r)}
	v.Stock = d.shelf.look(r.Context(), v.Search)
	write(w, "shelf", v)
}

func searchOf(r *http.Request) string {
	return strings.TrimSpace(strings.ToValidUTF8(r.URL.Query().Get("search"), string(utf8.RuneError)))
}

func write(w http.ResponseWriter, part string, v view) {
	var text bytes.Buffer
	if err := pages.ExecuteTemplate(&text, part, v); err != nil {
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

// Rows are the checkouts to show.
func (o openCheckouts) Rows() []checkoutView {
	rows := make([]checkoutView, 0, len(o.Checkouts))
	for _, e := range o.Checkouts {
		row := checkoutView{Entry: e}
		for _, line := range e.Lines {
			row.Units += line.Quantity
		}
		rows = append(rows, row)
	}
	return rows
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

package dashboard

import (
	"bytes"
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
	"ago":   humanize.Time,
	"units": units, "claims": claims,
	"clock": func(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" },
}).Parse(pageText))

// parts are the parts of the page that each broadcast replaces: names of templates and elements.
var parts = []string{"figures", "queues", "open", "audit", "stock"}

// A view is what the page shows.
type view struct {
	About
	Sample *sample // nil before the first
	Queues []queueView
	Levels metrics.Levels
	// Breaker is the state of the circuit breaker in front of the payment gateway.
	Breaker string
	Open    cachedRows[checkout.Entry]
	Stock   cachedRows[inventory.Product]
}

// A queueView is a row of the queues.
type queueView struct {
	metrics.Utilization

	Batch   *float64 // jobs a batch, in the last second
	Refused uint64
}

// Status is "full", "filling" (over 80 %) or "ok".
func (q queueView) Status() string {
	switch {
	case q.Used >= q.Limit:
		return "full"
	case 5*q.Used > 4*q.Limit:
		return "filling"
	}
	return "ok"
}

func (d *Dashboard) view(s *sample, levels metrics.Levels) view {
	v := view{
		About: d.about, Sample: s, Levels: levels, Breaker: d.metrics.Breaker(), Open: d.open.get(), Stock: d.stock.get(),
	}
	for i, q := range levels.Queues {
		one := queueView{Utilization: q, Refused: d.metrics.Batches(q.Name).Refused}
		if s != nil {
			one.Batch = s.Batches[i]
		}
		v.Queues = append(v.Queues, one)
	}
	return v
}

// fragments renders the parts of the page for every viewer at once.
func (d *Dashboard) fragments(s sample, levels metrics.Levels) map[string]string {
	v := d.view(&s, levels)
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

// page renders the whole page.
func (d *Dashboard) page(w http.ResponseWriter, r *http.Request) {
	d.open.refresh(r.Context())
	d.stock.refresh(r.Context())
	var text bytes.Buffer
	if err := pages.ExecuteTemplate(&text, "page", d.view(nil, d.metrics.Levels())); err != nil {
		panic(err) // as in fragments
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = text.WriteTo(w) // an error means that the browser left
}

// units returns how many units a checkout has.
func units(e checkout.Entry) (n int64) {
	for _, line := range e.Lines {
		n += line.Quantity
	}
	return n
}

// claims is how often the checkout was taken over from an owner that left it.
func claims(e checkout.Entry) int {
	if e.State == checkout.Cancelling {
		return e.Epoch - 2 // a cancellation begins under an epoch of its own
	}
	return e.Epoch - 1
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

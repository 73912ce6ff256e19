package dashboard

import (
	_ "embed" // the template
	"html"
	"html/template"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
	"cartwheel/docs"
	"cartwheel/inventory"
)

//go:embed page/dashboard.html
var pageText string

// templates are the page and its parts. They escape all text that comes from outside: the browser
// inserts the parts as they are.
var templates = template.Must(template.New("page").Funcs(template.FuncMap{
	"count":    func(n any) string { return humanize.Comma(reflect.ValueOf(n).Int()) },
	"rate":     rateText,
	"ms":       millisecondsText,
	"ago":      humanize.Time,
	"clock":    func(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" },
	"units":    inventory.Units,
	"failures": failedRecoveries,
}).Parse(pageText))

// partNames are the templates that every update has, and the IDs of their elements.
var partNames = []string{"notices", "figures", "queues", "open", "unsold", "newest", "audit", "stock"}

// A view is the data of the page.
type view struct {
	About
	Sample   *sample // nil before the first
	Queues   []queueView
	Levels   metrics.Levels
	Breaker  string            // state of the circuit breaker in front of the payment service
	Events   *metrics.EventLag // nil: no webhook, or not measured yet
	NotReady *string           // nil: the instance is ready
	Open     cachedRows[checkout.Entry]
	Recent   cachedRows[checkout.Entry]
	Stock    cachedRows[inventory.Product]
}

// Newest returns the newest of the recent checkouts that are in one of the states, or in any.
func (v view) Newest(states ...checkout.State) cachedRows[checkout.Entry] {
	newest := v.Recent
	newest.Rows = nil
	for _, e := range v.Recent.Rows {
		if len(newest.Rows) < maxOpenCheckouts && (len(states) == 0 || slices.Contains(states, e.State)) {
			newest.Rows = append(newest.Rows, e)
		}
	}
	return newest
}

// A queueView is a queue and its utilization.
type queueView struct {
	metrics.Utilization

	Batch   *float64 // jobs a batch, in the last second
	Refused int64
}

// Filling reports whether four fifths of the limit are used.
func (q queueView) Filling() bool { return 5*q.Used >= 4*q.Limit }

func (d *Dashboard) view(s *sample, levels metrics.Levels) view {
	v := view{
		About: d.about, Sample: s, Levels: levels, Breaker: d.metrics.Breaker(),
		Events: d.metrics.EventLag(), NotReady: d.notReady.Load(),
		Open: d.open.get(), Recent: d.recent.get(), Stock: d.stock.get(),
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

// parts renders the parts of the page.
func (d *Dashboard) parts(s sample, levels metrics.Levels) map[string]string {
	v := d.view(&s, levels)
	rendered := map[string]string{}
	for _, part := range partNames {
		rendered[part] = render(part, v)
	}
	return rendered
}

// page serves the whole page.
func (d *Dashboard) page(w http.ResponseWriter, r *http.Request) {
	d.read(r.Context())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, render("page", d.view(nil, d.metrics.Levels()))) // fails when the browser has left
}

// heading is a heading of the operators' page.
var heading = regexp.MustCompile(`(?m)^#+ .+$`)

// runbook serves the page for operators as text whose headings are anchors: alerts link to them.
func runbook(w http.ResponseWriter, _ *http.Request) {
	text := heading.ReplaceAllStringFunc(html.EscapeString(docs.Operations), func(line string) string {
		return `<b id="` + strings.ReplaceAll(strings.ToLower(strings.TrimLeft(line, "# ")), " ", "-") + `">` + line + "</b>"
	})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, render("runbook", template.HTML(text))) //nolint:gosec // it is escaped
}

func render(part string, v any) string {
	var text strings.Builder
	if err := templates.ExecuteTemplate(&text, part, v); err != nil {
		panic(err) // the templates fit the view: every test renders them
	}
	return text.String()
}

// failedRecoveries is how often an open checkout was claimed and left again.
func failedRecoveries(e checkout.Entry) int {
	if e.State == checkout.Cancelling {
		return e.Epoch - 2 // a cancellation begins under an epoch of its own
	}
	return e.Epoch - 1
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

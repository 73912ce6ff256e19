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
	"ms":       latencyText,
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
	Levels   metrics.Levels
	NotReady *string // nil: the instance is ready
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

func (d *Dashboard) view(s *sample, levels metrics.Levels) view {
	return view{
		About: d.about, Sample: s, Levels: levels, NotReady: d.notReady.Load(),
		Open: d.open.get(), Recent: d.recent.get(), Stock: d.stock.get(),
	}
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

// latencyText is a latency with its unit.
func latencyText(ms float64) string {
	if ms == 0 {
		return "–"
	}
	return humanize.SIWithDigits(ms/1e3, 1, "s")
}

package app

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"gopkg.in/yaml.v3"

	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
	"cartwheel/queue"
)

// The series that a query may name: our own, Go's and the process's.
var (
	metricName = regexp.MustCompile(`\b(?:cartwheel|process|go)_[a-z_]+`)
	selector   = regexp.MustCompile(`(cartwheel_[a-z_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`(\w+)(=~|!=|=)"([^"]*)"`)
)

// exported are the series that a scrape shows: for each name, the labels with their values.
func exported(t *testing.T) map[string]map[string][]string {
	t.Helper()
	m := metrics.New("")
	m.Transactions()
	m.Payments()
	m.Moves()
	m.Recoveries()
	m.Sold()
	m.OpenCheckouts()
	m.Events()
	for _, name := range []string{"cart.add", "checkout.reserve", "checkout.settle"} {
		m.Queue(name).BatchDone(queue.BatchStats{})
	}
	m.Watch(func() metrics.Levels {
		return metrics.Levels{Queues: []metrics.QueueLevel{{Name: "cart.add"}}, Audit: &checkout.Report{}, Disk: &metrics.Disk{}}
	}, collectors.NewDBStatsCollector(&sql.DB{}, "cartwheel"))
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string][]string{}
	for _, family := range families {
		labels := map[string][]string{"instance": nil, "job": nil, "le": nil} // those that Prometheus adds
		for _, series := range family.GetMetric() {
			for _, label := range series.GetLabel() {
				labels[label.GetName()] = append(labels[label.GetName()], label.GetValue())
			}
		}
		names := []string{family.GetName()}
		if family.GetType().String() == "HISTOGRAM" {
			names = []string{family.GetName() + "_bucket", family.GetName() + "_sum", family.GetName() + "_count"}
		}
		for _, name := range names {
			all[name] = labels
		}
	}
	return all
}

// isAnswered checks that every series that a query names is exported, with labels and values that
// there are.
func isAnswered(t *testing.T, where, query string, series map[string]map[string][]string) {
	t.Helper()
	for _, name := range metricName.FindAllString(query, -1) {
		if _, known := series[name]; !known {
			t.Errorf("%s asks for %s, which /metrics does not have", where, name)
		}
	}
	for _, s := range selector.FindAllStringSubmatch(query, -1) {
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			values, known := series[s[1]][m[1]]
			if !known {
				t.Errorf("%s: %s has no label %s", where, s[1], m[1])
			}
			if m[1] == "instance" || m[1] == "job" || m[1] == "error" { // of errors, most have not happened
				continue
			}
			for _, value := range strings.Split(m[3], "|") {
				if !slices.Contains(values, value) {
					t.Errorf("%s: no %s has the %s %q: %v", where, s[1], m[1], value, values)
				}
			}
		}
	}
}

// logMessages is the text of the packages whose log messages the alerts quote.
func logMessages(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"../checkout/*.go", "api/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}

func TestAlerts_useExistingMetricsAndHaveAnAction(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../deploy/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	series, logged := exported(t), logMessages(t)
	var alerts []string
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			alerts = append(alerts, rule.Alert)
			isAnswered(t, rule.Alert, rule.Expr, series)
			if rule.Annotations["summary"] == "" || rule.Annotations["action"] == "" {
				t.Errorf("%s has no summary, or does not say what to do", rule.Alert)
			}
			for _, message := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(rule.Annotations["action"], -1) {
				if !strings.Contains(logged, `"`+message[1]+`"`) {
					t.Errorf("%s quotes the log message %q, which does not exist", rule.Alert, message[1])
				}
			}
			if got, want := rule.Annotations["runbook_url"], "http://{{ $labels.instance }}/runbook#"+strings.ToLower(rule.Alert); got != want {
				t.Errorf("%s: runbook_url is %q, want %q", rule.Alert, got, want)
			}
			if severity := rule.Labels["severity"]; severity != "page" && severity != "ticket" {
				t.Errorf("%s: severity %q, want page or ticket", rule.Alert, severity)
			}
		}
	}
	if len(alerts) < 10 {
		t.Errorf("%d alerts were read: the test does not look", len(alerts))
	}

	// The page that they lead to has a heading for each, and for no other.
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ = bytes.Cut(page, []byte("\n## Alerts\n"))
	var headings []string
	for _, heading := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllSubmatch(page, -1) {
		headings = append(headings, string(heading[1]))
	}
	slices.Sort(alerts)
	slices.Sort(headings)
	if diff := cmp.Diff(alerts, headings); diff != "" {
		t.Errorf("the alerts, and what docs/operations.md explains (-alerts +explained):\n%s", diff)
	}
}

func TestGrafana_usesExistingMetrics(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../deploy/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	series := exported(t)
	asked := map[string]bool{}
	ids := map[int]bool{}
	for _, panel := range board.Panels {
		if ids[panel.ID] {
			t.Errorf("two panels have the ID %d", panel.ID)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			isAnswered(t, panel.Title, target.Expr, series)
			for _, name := range metricName.FindAllString(target.Expr, -1) {
				asked[name] = true
			}
		}
	}
	// It shows all that we count, so that what is added is not forgotten here.
	for _, name := range slices.Sorted(maps.Keys(series)) {
		family := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		shown := asked[name] || asked[family+"_bucket"] || asked[family+"_sum"] || asked[family+"_count"]
		if strings.HasPrefix(name, "cartwheel_") && name != "cartwheel_build_info" && !shown {
			t.Errorf("no panel shows %s", name)
		}
	}
}

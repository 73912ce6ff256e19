package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cartwheel/database/databasetest"
)

// lapse is by how much the rules' times are shortened.
const lapse = 10

// A firingAlert is what Prometheus tells the one on call.
type firingAlert struct {
	State               string
	Labels, Annotations map[string]string
}

// prometheus runs Prometheus with deploy/alerts.yaml, in time lapse, on an instance. It returns a
// function for the alerts that fire, by name.
func (i *instance) prometheus(t *testing.T) (firing func() map[string]firingAlert) {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		databasetest.SkipUnlessCI(t, "there is no prometheus: make test installs it")
	}
	rules, err := os.ReadFile("../deploy/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	minutes := regexp.MustCompile(`(for: |\[)(\d+)m\b`)
	rules = minutes.ReplaceAllFunc(rules, func(duration []byte) []byte {
		parts := minutes.FindSubmatch(duration)
		n, _ := strconv.Atoi(string(parts[2])) // the pattern has digits alone
		return fmt.Appendf(nil, "%s%ds", parts[1], n*60/lapse)
	})
	target := strings.TrimSuffix(strings.TrimPrefix(i.dashboard(), "http://"), "/")
	dir, address := t.TempDir(), freeAddress(t)
	for file, text := range map[string]string{
		"alerts.yaml": string(rules),
		"prometheus.yml": "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yaml]\n" +
			"scrape_configs: [{job_name: cartwheel, static_configs: [{targets: ['" + target + "']}]}]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := &logBuffer{}
	command := exec.Command(program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+address)
	command.Dir, command.Stdout, command.Stderr = dir, log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("Prometheus says:\n%s", log)
		}
	})
	return func() map[string]firingAlert {
		answer, err := http.Get("http://" + address + "/api/v1/alerts")
		if err != nil {
			return nil // it starts
		}
		defer func() { _ = answer.Body.Close() }()
		var told struct {
			Data struct{ Alerts []firingAlert }
		}
		if json.NewDecoder(answer.Body).Decode(&told) != nil {
			return nil // it starts
		}
		alerts := map[string]firingAlert{}
		for _, alert := range told.Data.Alerts {
			if alert.State == "firing" {
				alerts[alert.Labels["alertname"]] = alert
			}
		}
		return alerts
	}
}

func TestAlerts_hungPaymentServicePages(t *testing.T) {
	t.Parallel()
	// A probe hangs for longer than the breaker is open between two of them, as with the default.
	shop := start(t, embeddedStore(t), hanging(t, 4*time.Second)...)
	firing := shop.prometheus(t)
	eventually(t, soon, "Prometheus runs", func() bool { return firing() != nil })
	if alerts := firing(); len(alerts) > 0 {
		t.Errorf("alerts before there is a reason: %v", alerts)
	}
	shop.triesToBuy(t)
	const page = "CartwheelPaymentBreakerOpen"
	eventually(t, 3*time.Minute/lapse, "the alert pages", func() bool { return firing()[page].Labels["severity"] == "page" })
	for name, alert := range firing() {
		if strings.Contains(fmt.Sprint(alert.Annotations), "error expanding") {
			t.Errorf("%s cannot be read: %v", name, alert.Annotations)
		}
	}

	// Whoever is paged clicks on the link.
	link, anchor, _ := strings.Cut(firing()[page].Annotations["runbook_url"], "#")
	answer, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(text), `id="`+anchor+`"`) {
		t.Errorf("the link %s leads to %d bytes without %s: %v", link, len(text), anchor, err)
	}
}

package app

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"cartwheel/app/dashboard"
	"cartwheel/app/metrics"
)

// startAdmin starts an admin listener; its log is returned beside it.
func startAdmin(t *testing.T, address string) (*adminServer, *logbook) {
	t.Helper()
	log := &logbook{}
	m := metrics.New(metrics.Build{})
	a, err := openAdmin(t.Context(), address, m, dashboard.New(nil, m, dashboard.About{}), slog.New(slog.NewJSONHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return a, log
}

func getAdmin(t *testing.T, url, host string) (code int, kind, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Content-Type"), string(text)
}

func TestTheAdminListenerAnswersMetricsAndProfilesAndNothingElse(t *testing.T) {
	t.Parallel()
	a, log := startAdmin(t, "127.0.0.1:0")
	for path, want := range map[string]string{
		"metrics":                        "cartwheel_http_request_duration_seconds_bucket",
		"debug/pprof/":                   "goroutine",
		"debug/pprof/goroutine?debug=1":  "goroutine profile",
		"debug/pprof/heap?debug=1":       "heap profile",
		"debug/pprof/trace?seconds=0.01": "go 1.",
		"debug/pprof/symbol":             "num_symbols",
		"dashboard/dashboard.css":        "prefers-color-scheme",
	} {
		if code, _, body := getAdmin(t, a.url()+path, ""); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("/%s: %d without %q", path, code, want)
		}
	}
	for _, path := range []string{"addToCart", "healthz", "readyz", "documentation", "debug/vars", "dashboard/", "x"} {
		code, kind, body := getAdmin(t, a.url()+path, "")
		if code != http.StatusNotFound || !strings.HasPrefix(kind, "text/plain") {
			t.Errorf("/%s: %d %s %q, want a plain 404", path, code, kind, body)
		}
	}
	if strings.Contains(log.String(), "WARN") {
		t.Errorf("a warning about the loopback address: %s", log)
	}
}

func TestTheAdminListenerHidesTheCommandLine(t *testing.T) {
	t.Parallel()
	a, _ := startAdmin(t, "127.0.0.1:0")
	code, _, body := getAdmin(t, a.url()+"debug/pprof/cmdline", "")
	if code != http.StatusOK || strings.Contains(body, "-test.") || strings.Contains(body, "\x00") {
		t.Errorf("%d %q, want the program's name alone", code, body)
	}
}

func TestTheAdminListenerOnLoopbackIsForThisMachinesNamesAlone(t *testing.T) {
	t.Parallel()
	a, _ := startAdmin(t, "127.0.0.1:0")
	for host, want := range map[string]int{
		"": 200, "localhost:1": 200, "localhost": 200, "127.0.0.1:5004": 200, "[::1]:5004": 200,
		"evil.example": 421, "evil.example:5004": 421, "127.0.0.1.evil.example": 421,
	} {
		if code, _, _ := getAdmin(t, a.url()+"metrics", host); code != want {
			t.Errorf("asked for as %q: %d, want %d", host, code, want)
		}
	}
}

func TestAnAdminListenerForOtherMachinesIsWarnedOf(t *testing.T) {
	t.Parallel()
	a, log := startAdmin(t, ":0")
	if !strings.Contains(log.String(), "asks for no key") {
		t.Errorf("no warning: %s", log)
	}
	if !strings.HasPrefix(a.url(), "http://localhost:") {
		t.Errorf("the URL is %s: nobody can click that", a.url())
	}
	if code, _, _ := getAdmin(t, a.url()+"metrics", "shop.internal:5004"); code != http.StatusOK {
		t.Errorf("asked for by the name of another machine: %d, want 200", code)
	}
}

func TestATakenAdminPortSaysWhatToDo(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, err = openAdmin(t.Context(), taken.Addr().String(), metrics.New(metrics.Build{}), nil, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "--admin-listen") || !strings.Contains(err.Error(), "choose another address") {
		t.Errorf("got %v, want what to do", err)
	}
}

package admin

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"cartwheel/app/admin/dashboard"
	"cartwheel/app/admin/metrics"
)

// startAdmin starts an admin listener. It returns its address as a URL, and its log.
func startAdmin(t *testing.T, address string) (url string, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	m := metrics.New(metrics.Build{})
	a := New(listener, m, dashboard.New(nil, m, dashboard.About{}), slog.New(slog.NewJSONHandler(log, nil)))
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return "http://127.0.0.1:" + port + "/", log
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

func TestAdmin_answersMetricsAndProfilesOnly(t *testing.T) {
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
		if code, _, body := getAdmin(t, a+path, ""); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("/%s: %d without %q", path, code, want)
		}
	}
	for _, path := range []string{"addToCart", "healthz", "readyz", "documentation", "debug/vars", "dashboard/", "x"} {
		code, kind, body := getAdmin(t, a+path, "")
		if code != http.StatusNotFound || !strings.HasPrefix(kind, "text/plain") {
			t.Errorf("/%s: %d %s %q, want a plain 404", path, code, kind, body)
		}
	}
	if strings.Contains(log.String(), "WARN") {
		t.Errorf("a warning about the loopback address: %s", log)
	}
}

func TestAdmin_hidesTheCommandLine(t *testing.T) {
	t.Parallel()
	a, _ := startAdmin(t, "127.0.0.1:0")
	code, _, body := getAdmin(t, a+"debug/pprof/cmdline", "")
	if code != http.StatusOK || strings.Contains(body, "-test.") || strings.Contains(body, "\x00") {
		t.Errorf("%d %q, want the program's name alone", code, body)
	}
}

func TestAdmin_loopbackRefusesOtherHostNames(t *testing.T) {
	t.Parallel()
	a, _ := startAdmin(t, "127.0.0.1:0")
	for host, want := range map[string]int{
		"": 200, "localhost:1": 200, "localhost": 200, "127.0.0.1:5004": 200, "[::1]:5004": 200,
		"evil.example": 421, "evil.example:5004": 421, "127.0.0.1.evil.example": 421,
	} {
		if code, _, _ := getAdmin(t, a+"metrics", host); code != want {
			t.Errorf("asked for as %q: %d, want %d", host, code, want)
		}
	}
}

func TestAdmin_publicListenerIsWarnedOf(t *testing.T) {
	t.Parallel()
	a, log := startAdmin(t, ":0")
	if !strings.Contains(log.String(), "asks for no key") {
		t.Errorf("no warning: %s", log)
	}
	if code, _, _ := getAdmin(t, a+"metrics", "shop.internal:5004"); code != http.StatusOK {
		t.Errorf("asked for by the name of another machine: %d, want 200", code)
	}
}

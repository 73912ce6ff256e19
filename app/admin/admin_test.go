package admin

import (
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"cartwheel/app/admin/dashboard"
	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
	"cartwheel/inventory"
)

// An emptyShop has neither products nor checkouts.
type emptyShop struct{}

func (emptyShop) LowestStock(context.Context, int) ([]inventory.Product, error) { return nil, nil }

func (emptyShop) OpenCheckouts(context.Context, int) ([]checkout.Entry, error) { return nil, nil }

func (emptyShop) RecentCheckouts(context.Context, int) ([]checkout.Entry, error) { return nil, nil }

func (emptyShop) Ready(context.Context) error { return nil }

// startAdmin starts an admin listener and returns its address as a URL.
func startAdmin(t *testing.T, address, token string) (url string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	m := metrics.New("")
	board := dashboard.New(emptyShop{}, m, dashboard.About{})
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, listener, token, m, board.Handler(), slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return "http://127.0.0.1:" + port + "/"
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
	a := startAdmin(t, "127.0.0.1:0", "")
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
}

func TestAdmin_hidesTheCommandLine(t *testing.T) {
	t.Parallel()
	a := startAdmin(t, "127.0.0.1:0", "")
	code, _, body := getAdmin(t, a+"debug/pprof/cmdline", "")
	if code != http.StatusNotFound || strings.Contains(body, "-test.") || strings.Contains(body, "\x00") {
		t.Errorf("%d %q, want 404", code, body)
	}
}

func TestAdmin_loopbackRefusesOtherHostNames(t *testing.T) {
	t.Parallel()
	a := startAdmin(t, "127.0.0.1:0", "")
	for host, want := range map[string]int{
		"": 200, "localhost:1": 200, "localhost": 200, "127.0.0.1:5004": 200, "[::1]:5004": 200,
		"evil.example": 421, "evil.example:5004": 421, "127.0.0.1.evil.example": 421,
	} {
		if code, _, _ := getAdmin(t, a+"metrics", host); code != want {
			t.Errorf("asked for as %q: %d, want %d", host, code, want)
		}
	}
}

func TestAdmin_everyRouteNeedsTheToken(t *testing.T) {
	t.Parallel()
	a := startAdmin(t, ":0", "right")
	for _, path := range []string{"", "metrics", "debug/pprof/", "dashboard/update", "dashboard/dashboard.css", "no-such-route"} {
		if code, _, _ := getAdmin(t, a+path, "shop.internal:5004"); code != http.StatusUnauthorized {
			t.Errorf("/%s without the token: %d, want 401", path, code)
		}
	}
	for header, want := range map[string]int{
		"Bearer right": 200, "bearer right": 200, basic("operator", "right"): 200, basic("", "right"): 200,
		"": 401, "right": 401, "Bearer": 401, "Bearer ": 401, "Bearer wrong": 401, "Bearer right ": 200, // HTTP trims it
		"Basic right": 401, basic("right", ""): 401, basic("right", "wrong"): 401, "Digest right": 401,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a+"metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", header)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("Authorization %q: %d, want %d", header, answer.StatusCode, want)
		}
		challenges := strings.Join(answer.Header.Values("WWW-Authenticate"), ", ")
		if want == 401 && (!strings.Contains(challenges, "Bearer ") || !strings.Contains(challenges, "Basic ")) {
			t.Errorf("Authorization %q: WWW-Authenticate %q, want Bearer and Basic", header, challenges)
		}
	}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestBoundedProfiles_refusesTooManyTooLongAndCrossSite(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	profiles := boundedProfiles(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("wait") {
			entered <- struct{}{}
			<-leave
		}
	}))
	ask := func(target, site string) int {
		request := httptest.NewRequest(http.MethodGet, target, nil)
		request.Header.Set("Sec-Fetch-Site", site)
		answer := httptest.NewRecorder()
		profiles.ServeHTTP(answer, request)
		return answer.Code
	}
	for _, test := range []struct {
		target, site string
		want         int
	}{
		{"/debug/pprof/profile?seconds=60", "", 200},
		{"/debug/pprof/profile?seconds=61", "", 400},
		{"/debug/pprof/heap?seconds=Inf", "", 400},
		{"/debug/pprof/", "none", 200},
		{"/debug/pprof/", "same-origin", 200},
		{"/debug/pprof/", "same-site", 403},
		{"/debug/pprof/heap", "cross-site", 403},
	} {
		if got := ask(test.target, test.site); got != test.want {
			t.Errorf("%s from %q: got %d, want %d", test.target, test.site, got, test.want)
		}
	}
	var running sync.WaitGroup
	for range maxProfiles {
		running.Go(func() { ask("/debug/pprof/profile?wait", "") })
		<-entered
	}
	if got := ask("/debug/pprof/heap", ""); got != 429 {
		t.Errorf("beside %d profiles: got %d, want 429", maxProfiles, got)
	}
	close(leave)
	running.Wait()
	if got := ask("/debug/pprof/heap", ""); got != 200 {
		t.Errorf("after them: got %d, want 200", got)
	}
}

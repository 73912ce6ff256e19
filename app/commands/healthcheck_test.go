package commands

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestHealthcheck_asksTheServerOfThatAddress(t *testing.T) {
	t.Parallel()
	var refuses atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			return
		}
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		if refuses.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte("draining\n"))
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "", "0.0.0.0"} {
		var out bytes.Buffer
		if err := (Healthcheck{Listen: net.JoinHostPort(host, port)}).Run(t.Context(), Console{Out: &out}); err != nil || out.String() != "ready\n" {
			t.Errorf("%q: got %q, error %v", host, out.String(), err)
		}
	}
	refuses.Store(true)
	err = Healthcheck{Listen: ":" + port}.Run(t.Context(), Console{})
	if err == nil || err.Error() != "not ready: 503 draining" {
		t.Errorf("got %v", err)
	}
	var out bytes.Buffer
	if err := (Healthcheck{Listen: ":" + port, Live: true}).Run(t.Context(), Console{Out: &out}); err != nil || out.String() != "alive\n" {
		t.Errorf("--live: got %q, error %v", out.String(), err)
	}
	server.Close()
	err = Healthcheck{Listen: ":" + port}.Run(t.Context(), Console{})
	if err == nil || !strings.HasPrefix(err.Error(), "the server does not answer") {
		t.Errorf("got %v", err)
	}
}

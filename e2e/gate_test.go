package e2e

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// A gate stands before a till. It lets requests of a method wait while that is shut.
type gate struct {
	url string

	mu      sync.Mutex
	shut    map[string]chan struct{} // under mu; by method; closed when it opens
	arrived map[string]int           // under mu; requests that came while it was shut, by method
}

func newGate(t *testing.T, behind http.Handler) *gate {
	t.Helper()
	g := &gate{shut: map[string]chan struct{}{}, arrived: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.pass(r)
		behind.ServeHTTP(w, r)
	}))
	g.url = server.URL
	t.Cleanup(func() {
		for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPost} {
			g.open(method)
		}
		server.Close()
	})
	return g
}

func (g *gate) pass(r *http.Request) {
	g.mu.Lock()
	opened := g.shut[r.Method]
	if opened != nil {
		g.arrived[r.Method]++
	}
	g.mu.Unlock()
	if opened != nil {
		<-opened
	}
}

// close makes requests of the method wait.
func (g *gate) close(method string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut[method] = make(chan struct{})
	g.arrived[method] = 0
}

// open lets the requests that wait pass, and those that come.
func (g *gate) open(method string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if opened := g.shut[method]; opened != nil {
		close(opened)
		delete(g.shut, method)
	}
}

// await waits until so many requests of the method have come since it was closed.
func (g *gate) await(t *testing.T, method string, n int) {
	t.Helper()
	eventually(t, 20*time.Second, "the requests to the gateway have come", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.arrived[method] >= n
	})
}

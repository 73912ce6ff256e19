package e2e

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// An interceptor stands before the payment service. A test says at which calls it stops them, and
// when they go on: before the payment service has seen them, or when it has decided and not
// answered. A call that was stopped goes on to the payment service even where its caller is gone.
type interceptor struct {
	url      string
	payments http.Handler
	over     chan struct{} // closed at the test's end

	mu    sync.Mutex
	idle  sync.Cond        // with mu; told when a call ends
	busy  int              // under mu; calls under way
	stops map[stopAt]*stop // under mu
	calls map[string]int   // under mu; by method and path
}

type stopAt struct {
	method string
	after  bool
}

// A stop is where calls wait.
type stop struct {
	t       *testing.T
	arrived chan struct{} // one for each call that came while it was closed
	opened  sync.Once
	open    chan struct{} // closed when calls may go on
}

// soon is well above what anything takes that does not wait for a lease, on a busy machine.
const soon = 30 * time.Second

// stopCapacity is more calls than any test stops.
const stopCapacity = 4096

func startInterceptor(t *testing.T, payments http.Handler) *interceptor {
	t.Helper()
	g := &interceptor{payments: payments, over: make(chan struct{}), stops: map[stopAt]*stop{}, calls: map[string]int{}}
	g.idle.L = &g.mu
	server := httptest.NewServer(g)
	g.url = server.URL
	t.Cleanup(func() {
		close(g.over)
		server.Close()
	})
	return g
}

// before stops the calls with a method before the payment service sees them, until the stop is
// opened.
func (g *interceptor) before(t *testing.T, method string) *stop {
	return g.stop(t, stopAt{method, false})
}

// after stops the answers to the calls with a method when the payment service has decided.
func (g *interceptor) after(t *testing.T, method string) *stop {
	return g.stop(t, stopAt{method, true})
}

func (g *interceptor) stop(t *testing.T, at stopAt) *stop {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := &stop{t: t, arrived: make(chan struct{}, stopCapacity), open: make(chan struct{})}
	g.stops[at] = s
	return s
}

// await waits until a call has come to the stop.
func (s *stop) await(within time.Duration) {
	s.t.Helper()
	select {
	case <-s.arrived:
	case <-time.After(bound(within)):
		s.t.Fatalf("no call has come to the payment service within %v", bound(within))
	}
}

// letGo lets the calls that wait, and all later ones, go on.
func (s *stop) letGo() { s.opened.Do(func() { close(s.open) }) }

// letGo opens every stop and waits until no call is under way.
func (g *interceptor) letGo() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.stops {
		s.letGo()
	}
	for g.busy > 0 {
		g.idle.Wait()
	}
}

// count is how often a call was made for a checkout.
func (g *interceptor) count(method, checkoutID string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[method+" /payments/"+checkoutID]
}

func (g *interceptor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.busy++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.busy--
		g.mu.Unlock()
		g.idle.Broadcast()
	}()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // no client is there any more
	}
	g.mu.Lock()
	g.calls[r.Method+" "+strings.TrimSuffix(r.URL.Path, "/refund")]++
	g.mu.Unlock()
	if !g.pass(stopAt{r.Method, false}) {
		return
	}
	decided := httptest.NewRecorder()
	call := r.Clone(context.WithoutCancel(r.Context()))
	call.Body = io.NopCloser(bytes.NewReader(body))
	g.payments.ServeHTTP(decided, call)
	if !g.pass(stopAt{r.Method, true}) {
		return
	}
	w.Header().Set("Content-Type", decided.Header().Get("Content-Type"))
	w.WriteHeader(decided.Code)
	_, _ = w.Write(decided.Body.Bytes()) // its caller may be gone
}

// pass waits at a stop and reports whether the test goes on.
func (g *interceptor) pass(at stopAt) bool {
	g.mu.Lock()
	s := g.stops[at]
	g.mu.Unlock()
	if s == nil {
		return true
	}
	select {
	case <-s.open: // no client waits for arrivals any more, and there may be more than arrived has room for
		return true
	default:
	}
	select {
	case s.arrived <- struct{}{}:
	case <-g.over:
		return false
	}
	select {
	case <-s.open:
		return true
	case <-g.over:
		return false
	}
}

// slow lets a gateway take its time for charges.
func slow(t *testing.T, gateway http.Handler, delay time.Duration) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			pause(r.Context(), delay)
		}
		gateway.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// deaf is a payment service that takes connections and never reads from them.
func deaf(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return "http://" + listener.Addr().String()
}

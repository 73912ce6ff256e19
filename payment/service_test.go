package payment

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// shop is a payment service made of one handler. It counts what reaches it.
type shop struct {
	*httptest.Server
	requests    atomic.Int64
	connections atomic.Int64
}

func serve(t *testing.T, handler http.HandlerFunc) *shop {
	t.Helper()
	s := &shop{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		handler(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func answerWith(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// connect opens a gateway as in production, except that it retries sooner.
func connect(t *testing.T, rawURL string, options Options) *HTTPGateway {
	t.Helper()
	opened, err := Open(rawURL, options)
	if err != nil {
		t.Fatal(err)
	}
	gateway := opened.(*HTTPGateway)
	gateway.firstWait = time.Millisecond
	t.Cleanup(gateway.Close)
	return gateway
}

func order(id string) Order {
	return Order{CheckoutID: id, ClientID: "ann", Items: []Item{{ProductID: "tea", Quantity: 2}}}
}

// ask makes one of the three calls.
func ask(ctx context.Context, gateway Gateway, call, id string) (Result, error) {
	switch call {
	case "charge":
		return gateway.Charge(ctx, order(id))
	case "void":
		return gateway.Void(ctx, id)
	default:
		return gateway.Refund(ctx, id)
	}
}

func mustBeUnknown(t *testing.T, what string, result Result, err error) {
	t.Helper()
	if err == nil || errors.Is(err, ErrNotSent) || result != (Result{}) {
		t.Errorf("%s = %v, %v; want an unknown outcome", what, result, err)
	}
}

// refusing returns the address of a port that nobody listens on.
func refusing(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// silent serves a payment service that never answers, until the test ends.
func silent(t *testing.T, head string) (s *shop, asked chan struct{}) {
	asked = make(chan struct{}, 100)
	release := make(chan struct{})
	s = serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if head != "" {
			_, _ = io.WriteString(w, head)
			_ = http.NewResponseController(w).Flush()
		}
		asked <- struct{}{}
		<-release
	})
	t.Cleanup(func() { close(release) })
	return s, asked
}

package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cartwheel/app/admin/metrics"
	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/inventory"
)

// A fakeShop answers what a test tells it to, and remembers what it was asked.
type fakeShop struct {
	answer     func(ctx context.Context) error // nil: Success
	checkoutID string                          // of every checkout
	view       cart.View
	entries    []checkout.Entry
	products   []inventory.Product

	mu        sync.Mutex
	additions []cart.LineChange // guarded by mu
	purchases []cart.Purchase   // guarded by mu
	asked     []string          // other changes; guarded by mu
}

func (f *fakeShop) AddToCart(ctx context.Context, a cart.LineChange) error {
	f.mu.Lock()
	f.additions = append(f.additions, a)
	f.mu.Unlock()
	return f.say(ctx)
}

func (f *fakeShop) UpdateCart(ctx context.Context, a cart.LineChange) error {
	f.askf("update %+v", a)
	return f.say(ctx)
}

func (f *fakeShop) EmptyCart(ctx context.Context, clientID, key string) error {
	f.askf("empty %s, key %s", clientID, key)
	return f.say(ctx)
}

func (f *fakeShop) MergeCarts(ctx context.Context, fromClientID, toClientID, key string) error {
	f.askf("merge %s into %s, key %s", fromClientID, toClientID, key)
	return f.say(ctx)
}

func (f *fakeShop) askf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
}

func (f *fakeShop) CheckOut(ctx context.Context, p cart.Purchase) (string, error) {
	f.mu.Lock()
	f.purchases = append(f.purchases, p)
	f.mu.Unlock()
	return f.checkoutID, f.say(ctx)
}

// keyed returns how many additions had a key.
func (f *fakeShop) keyed() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.additions {
		if a.Key != "" {
			n++
		}
	}
	return n
}

func (f *fakeShop) say(ctx context.Context) error {
	if f.answer == nil {
		return nil
	}
	return f.answer(ctx)
}

func (f *fakeShop) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.additions) + len(f.purchases)
}

// lookups answers what a test has put into its fakeShop.
type lookups struct{ *fakeShop }

func (f *fakeShop) Show(ctx context.Context, clientID string) (cart.View, error) {
	f.askf("cart of %s", clientID)
	return f.view, f.say(ctx)
}

func (l lookups) Show(ctx context.Context, checkoutID string) (checkout.Entry, error) {
	l.askf("checkout %s", checkoutID)
	return l.entries[0], l.say(ctx)
}

func (l lookups) Cancel(ctx context.Context, checkoutID string) error {
	l.askf("cancel %s", checkoutID)
	return l.say(ctx)
}

func (l lookups) OfClient(ctx context.Context, clientID, before string, limit int) ([]checkout.Entry, error) {
	l.askf("%d checkouts of %s before %q", limit, clientID, before)
	return l.entries, l.say(ctx)
}

func (l lookups) Lookup(ctx context.Context, productIDs []string) ([]inventory.Product, error) {
	l.askf("stock of %q", productIDs)
	return l.products, l.say(ctx)
}

type fakeReadiness struct{ err error }

func (f *fakeReadiness) Ready(context.Context) error { return f.err }

// A logbook is a log that a test reads while the server writes it.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A testServer is the public listener on a real port.
type testServer struct {
	t     *testing.T
	addr  string
	shop  *fakeShop
	log   *logbook
	http  *Server
	ready *fakeReadiness
}

// setup starts the server; change may alter it before it serves.
func setup(t *testing.T, config Config, change ...func(*testServer)) *testServer {
	t.Helper()
	s := &testServer{t: t, shop: &fakeShop{}, log: &logbook{}, ready: &fakeReadiness{}}
	config.Log = slog.New(slog.NewJSONHandler(s.log, nil))
	if config.Metrics == nil {
		config.Metrics = metrics.New("")
	}
	if config.RequestTimeout == 0 {
		config.RequestTimeout = 5 * time.Second
	}
	s.http = New(config, Shop{Carts: s.shop, Checkouts: lookups{s.shop}, Stock: lookups{s.shop}}, s.ready.Ready)
	for _, c := range change {
		c(s)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.http.Serve(LimitConnections(listener, MaxConnections))
	}()
	t.Cleanup(func() {
		_ = s.http.Close()
		<-served
	})
	return s
}

// A reply is what came back, as far as tests look at it.
type reply struct {
	code   int
	header http.Header
	body   string
	closes bool // the server says that it hangs up
}

func (s *testServer) do(method, path, body string, headers ...string) reply {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, string(got), answer.Close}
}

// raw sends text as it is over a connection of its own and reads one answer.
func (s *testServer) raw(text string) reply {
	s.t.Helper()
	conn := s.dial()
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	return s.readReply(conn, strings.Fields(text)[0])
}

func (s *testServer) dial() net.Conn {
	s.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

func (s *testServer) readReply(conn net.Conn, method string) reply {
	s.t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, string(got), answer.Close}
}

// checkAnswer wants the code, and a body of the one shape: Failed with an error unless told
// otherwise.
func checkAnswer(t *testing.T, got reply, code int, words string) {
	t.Helper()
	status := statusFailed
	switch code {
	case http.StatusOK:
		status = statusSuccess
	case http.StatusAccepted:
		status = statusPending
	}
	if got.code != code {
		t.Fatalf("got %d %q, want %d", got.code, got.body, code)
	}
	if contentType := got.header.Get("Content-Type"); contentType != "application/json" {
		t.Errorf("Content-Type is %q, want application/json", contentType)
	}
	if !strings.HasSuffix(got.body, "}\n") || strings.Count(got.body, "\n") != 1 {
		t.Errorf("the body %q is not one line", got.body)
	}
	var members map[string]string
	if err := json.Unmarshal([]byte(got.body), &members); err != nil {
		t.Fatalf("the body %q: %v", got.body, err)
	}
	if len(members) != 2 || members["status"] != status || (members["error"] == "") != (status == statusSuccess) {
		t.Errorf("got body %q, want status %q and an error only where it is not Success", got.body, status)
	}
	if !strings.Contains(members["error"], words) {
		t.Errorf("got error %q, want it to say %q", members["error"], words)
	}
	if code := got.header.Get("Cartwheel-Error"); (code == "") != (status == statusSuccess) {
		t.Errorf("status %q has Cartwheel-Error %q", status, code)
	}
	if got.header.Get("X-Request-ID") == "" {
		t.Error("the answer has no X-Request-ID")
	}
}

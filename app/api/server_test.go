package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"cartwheel/app/admin/metrics"
	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/payment"
	"cartwheel/queue"
)

const (
	validAdd      = `{"clientID":"alice","productID":"tea","quantity":2}`
	validCheckOut = `{"clientID":"alice"}`
)

func TestServer_requestReachesTheShop(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})

	checkAnswer(t, s.do("POST", "/addToCart", validAdd, "Idempotency-Key", "k-1"), 200, "")
	checkAnswer(t, s.do("POST", "/checkOutCart", validCheckOut), 200, "")

	wantAdditions := []cart.LineChange{{ClientID: "alice", ProductID: "tea", Quantity: 2, Key: "k-1"}}
	if diff := cmp.Diff(wantAdditions, s.shop.additions); diff != "" {
		t.Errorf("additions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]cart.Purchase{{ClientID: "alice"}}, s.shop.purchases); diff != "" {
		t.Errorf("purchases (-want +got):\n%s", diff)
	}
	if log := s.log.String(); log != "" {
		t.Errorf("successes are logged: %s", log)
	}
	if got, want := string(render(answer{statusFailed, "<é> & \"\n"})), `{"status":"Failed","error":"<é> & \"\n"}`+"\n"; got != want {
		t.Errorf("got body %q, want %q", got, want)
	}
	if got, want := s.do("POST", "/addToCart", validAdd).body, `{"status":"Success","error":""}`+"\n"; got != want {
		t.Errorf("got body %q, want %q", got, want)
	}
}

func TestErrorTable_answersErrorsOfTheModules(t *testing.T) {
	t.Parallel()
	wrap := func(err error) error { return fmt.Errorf("check out alice: %w", err) }
	for _, test := range []struct {
		err   error
		code  int
		words string // all of them
		retry string
	}{
		{&checkout.PendingError{CheckoutID: "c-1"}, 202, "checkout c-1 is under way: its payment's outcome is not known yet; GET /checkout tells how it ends", ""},
		{&checkout.ReasonError{Err: checkout.ErrDeclined, Reason: "card expired"}, 402, "payment declined: card expired", ""},
		{&checkout.ReasonError{Err: checkout.ErrUnpaid, Reason: "no answer within 10s"}, 503, "payment not completed, nothing is charged: no answer within 10s", "5"},
		{&checkout.ReasonError{Err: checkout.ErrRefunded, Reason: "x"}, 409, "not enough stock: it was lowered during the payment; the payment was refunded", ""},
		{&inventory.NoProductError{ProductID: "tea"}, 404, "no such product: tea", ""},
		{&inventory.NotEnoughError{ProductID: "tea", Wanted: 5, Available: 2}, 409, "not enough stock of product tea: wanted 5, available 2", ""},
		{&inventory.NotEnoughError{ProductID: "gone <1>", Wanted: 5}, 409, "not enough stock of product gone <1>: wanted 5, available 0", ""},
		{cart.ErrEmpty, 409, "the cart is empty", ""},
		{cart.ErrCheckoutUnderWay, 409, "the cart is empty: a checkout of this client is under way", ""},
		{cart.ErrTooManyLines, 409, "the cart would have more than 500 lines, or more than 2147483647 units of one product", ""},
		{idempotency.ErrMismatch, 422, "this Idempotency-Key was used with another request", ""},
		{idempotency.ErrUnderWay, 503, "the first request with this Idempotency-Key is still under way: try again with the same key", "1"},
		{checkout.ErrBusy, 503, busy.message, "1"},
		{checkout.ErrDraining, 503, draining.message, "5"},
		{payment.ErrUnavailable, 503, "payments are not possible at the moment, nothing was done: try again", "5"},
		{queue.ErrFull, 503, busy.message, "1"},
		{queue.ErrClosed, 503, draining.message, "5"},
		{fmt.Errorf("%w: %w", queue.ErrNotStarted, context.DeadlineExceeded), 503, busy.message, "1"},
		{fmt.Errorf("%w: %w", queue.ErrUnanswered, context.DeadlineExceeded), 504, unknown.message, ""},
		{database.ErrUnavailable, 503, "the database is unavailable, nothing was done: try again", "5"},
		{database.ErrRowLocked, 503, "the stock or the cart is locked by another session, nothing was done: try again", "1"},
		{database.ErrOutcomeUnknown, 504, unknown.message, ""},
		{context.DeadlineExceeded, 504, unknown.message, ""},

		// Errors that carry others: the one that says what became of the work counts.
		{fmt.Errorf("%w: %w; then %w", database.ErrOutcomeUnknown, io.ErrUnexpectedEOF, database.ErrUnavailable), 504, unknown.message, ""},
		{fmt.Errorf("%w: %w", database.ErrUnavailable, context.DeadlineExceeded), 503, "the database is unavailable, nothing was done: try again", "5"},
		{errors.Join(&checkout.PendingError{CheckoutID: "c-2"}, queue.ErrUnanswered, database.ErrOutcomeUnknown), 202, "checkout c-2 is under way: its payment's outcome is not known yet; GET /checkout tells how it ends", ""},
		{fmt.Errorf("%w: the stock of product %q", database.ErrRowLocked, "tea"), 503, "the stock or the cart is locked by another session, nothing was done: try again", "1"},
	} {
		t.Run(fmt.Sprintf("%d %v", test.code, test.err), func(t *testing.T) {
			t.Parallel()
			s := setup(t, Config{})
			s.shop.answer = func(context.Context) error { return wrap(test.err) }
			for _, request := range [][2]string{{"/addToCart", validAdd}, {"/checkOutCart", validCheckOut}} {
				got := s.do("POST", request[0], request[1])
				checkAnswer(t, got, test.code, "")
				var a answer
				if err := json.Unmarshal([]byte(got.body), &a); err != nil || a.Error != test.words {
					t.Errorf("got error %q, want %q", a.Error, test.words)
				}
				if retry := got.header.Get("Retry-After"); retry != test.retry {
					t.Errorf("got Retry-After %q, want %q", retry, test.retry)
				}
				stored := ResponseTo(wrap(test.err))
				if stored.Status != got.code || string(stored.Body) != got.body || stored.Code != got.header.Get("Cartwheel-Error") {
					t.Errorf("present gives %+v, sent was %d %q", stored, got.code, got.body)
				}
			}
			if logged := strings.Contains(s.log.String(), `"request_id"`); logged != (test.code >= 500 || test.code == http.StatusAccepted) {
				t.Errorf("logged is %t for %d: %s", logged, test.code, s.log)
			}
		})
	}
}

func TestServer_replayIsByteForByte(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for _, response := range []idempotency.Response{
		{Status: 200, Body: successBody},
		{Status: 402, Body: []byte("{\"status\": \"Failed\",\t\"error\":\"an older version's words\"}\n")},
		{Status: 409, Code: "cart_empty", Body: []byte("{}\n")},
	} {
		stored := idempotency.Replay{Response: response}
		s.shop.answer = func(context.Context) error { return fmt.Errorf("add: %w", &stored) }
		got := s.do("POST", "/addToCart", validAdd)
		if got.code != stored.Status || got.body != string(stored.Body) || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("got %d %q, want %d %q", got.code, got.body, stored.Status, stored.Body)
		}
		if code := got.header.Get("Cartwheel-Error"); code != stored.Code {
			t.Errorf("got Cartwheel-Error %q, want %q", code, stored.Code)
		}
		if diff := cmp.Diff(stored.Response, ResponseTo(&stored)); diff != "" {
			t.Errorf("present (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(idempotency.Response{Status: 200, Body: successBody}, ResponseTo(nil)); diff != "" {
		t.Errorf("ResponseTo(nil) (-want +got):\n%s", diff)
	}
}

func TestServer_unknownErrorShowsOnlyARequestID(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	s.shop.answer = func(context.Context) error { return errors.New("dial root:secret@db") }

	got := s.do("POST", "/addToCart", validAdd, "X-Request-ID", "trace-7")
	checkAnswer(t, got, 500, "internal error, request ID trace-7")
	if strings.Contains(got.body, "secret") {
		t.Errorf("the answer tells the detail: %s", got.body)
	}
	log := s.log.String()
	if strings.Count(log, "\n") != 1 || !strings.Contains(log, "root:secret@db") || !strings.Contains(log, `"request_id":"trace-7"`) {
		t.Errorf("want one line with the detail and the request ID, got %q", log)
	}
}

func TestServer_panicIsAnswered(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	s.shop.answer = func(context.Context) error { panic("at the disco") }

	checkAnswer(t, s.do("POST", "/addToCart", validAdd), 500, "internal error, request ID ")
	log := s.log.String()
	if !strings.Contains(log, "at the disco") || !strings.Contains(log, "server_test.go") {
		t.Errorf("want the panic and its stack in the log, got %s", log)
	}
	s.shop.answer = nil
	checkAnswer(t, s.do("POST", "/addToCart", validAdd), 200, "")
}

func TestServer_panicDuringAnAnswerCutsTheConnection(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{}, func(s *testServer) {
		s.http.Handler.(*Server).add("/half", func(c echo.Context) error {
			if _, err := c.Response().Write([]byte("half an ans")); err != nil {
				return err
			}
			c.Response().Flush()
			panic("now")
		}, http.MethodGet)
	})
	conn := s.dial()
	if _, err := io.WriteString(conn, "GET /half HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if got, err := io.ReadAll(answer.Body); err == nil {
		t.Errorf("the caller takes %q for a whole answer", got)
	}
	if log := s.log.String(); !strings.Contains(log, `"error":"panic: now"`) {
		t.Errorf("the panic is not in the log: %s", log)
	}
}

func TestRequestIDs_areKeptOrGenerated(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})

	for _, sane := range []string{"a", "01JZ-" + strings.Repeat("x", 59)} {
		if got := s.do("GET", "/healthz", "", "X-Request-ID", sane).header.Get("X-Request-ID"); got != sane {
			t.Errorf("got request ID %q, want the caller's %q", got, sane)
		}
	}
	seen := map[string]bool{}
	for _, unfit := range []string{"", "has space", strings.Repeat("x", 65), "ünïcode"} {
		got := s.do("GET", "/healthz", "", "X-Request-ID", unfit).header.Get("X-Request-ID")
		if got == unfit || !isVisible(got, maxRequestIDBytes) || seen[got] {
			t.Errorf("sent %q, got request ID %q, want a fresh one", unfit, got)
		}
		seen[got] = true
	}
	twice := s.raw("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-ID: one\r\nX-Request-ID: two\r\n\r\n").header
	if got := twice.Values("X-Request-ID"); len(got) != 1 || got[0] == "one" || got[0] == "two" {
		t.Errorf("sent two request IDs, got %q, want one fresh one", got)
	}
}

func TestRoutes_unknownPathHasTheSameShape(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for _, path := range []string{"/", "/nothing", "/addToCart/", "/ADDTOCART", "/addToCart/x", "//addToCart", "/metrics", "/debug/pprof/", "/%61ddToCart%2F", "/healthz/"} {
		for _, method := range []string{"GET", "POST", "OPTIONS", "DELETE"} {
			got := s.do(method, path, "")
			checkAnswer(t, got, 404, "no such route")
			if got.header.Get("Allow") != "" {
				t.Errorf("%s %s: a 404 with Allow", method, path)
			}
		}
	}
	checkAnswer(t, s.raw("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"), 404, "no such route")
	checkAnswer(t, s.raw("CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"), 404, "no such route")
}

func TestRoutes_otherMethodsAreRefused(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for path, allow := range map[string]string{
		"/addToCart": "POST", "/checkOutCart": "POST", "/healthz": "GET, HEAD", "/readyz": "GET, HEAD",
		"/documentation": "GET, HEAD", "/documentation/": "GET, HEAD", "/documentation/doc.json": "GET, HEAD",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "BREW", "echo_route_not_found"} {
			if slices.Contains(strings.Split(allow, ", "), method) {
				continue
			}
			got := s.raw(method + " " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
			checkAnswer(t, got, 405, "method not allowed: want one of "+allow)
			if got.header.Get("Allow") != allow {
				t.Errorf("%s %s: got Allow %q, want %q", method, path, got.header.Get("Allow"), allow)
			}
		}
	}
	head := s.do("HEAD", "/addToCart", "")
	if head.code != 405 || head.body != "" || head.header.Get("Allow") != "POST" {
		t.Errorf("HEAD /addToCart: got %d, body %q, Allow %q", head.code, head.body, head.header.Get("Allow"))
	}
}

func TestProbes_answerByReadiness(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{APIKeys: []string{"key"}, RateLimit: 0.001})
	for range 3 {
		checkAnswer(t, s.do("GET", "/healthz", ""), 200, "")
		checkAnswer(t, s.do("GET", "/readyz", ""), 200, "")
	}
	head := s.do("HEAD", "/readyz", "")
	if head.code != 200 || head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(successBody)) {
		t.Errorf("HEAD /readyz: got %d, body %q, %v", head.code, head.body, head.header)
	}
	s.ready.err = errors.New("the database is unreachable")
	got := s.do("GET", "/readyz", "")
	checkAnswer(t, got, 503, "not ready: the database is unreachable")
	if got.header.Get("Retry-After") == "" {
		t.Error("a 503 without Retry-After")
	}
	checkAnswer(t, s.do("GET", "/healthz", ""), 200, "")
}

func TestServer_requestTimeIsBounded(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{RequestTimeout: 20 * time.Millisecond})
	s.shop.answer = func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", queue.ErrNotStarted, ctx.Err())
	}
	checkAnswer(t, s.do("POST", "/checkOutCart", validCheckOut), 503, busy.message)
}

func TestServer_disconnectEndsTheRequestsContext(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{RequestTimeout: time.Minute})
	begun, ended := make(chan struct{}), make(chan error, 1)
	s.shop.answer = func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	conn := s.dial()
	if _, err := io.WriteString(conn, "POST /checkOutCart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"+validCheckOut); err != nil {
		t.Fatal(err)
	}
	<-begun
	_ = conn.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the context ended with %v, want it cancelled", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the request outlives its caller's connection")
	}
}

func TestServer_setsEveryTimeout(t *testing.T) {
	t.Parallel()
	const requestTimeout = 15 * time.Second
	s := New(Config{RequestTimeout: requestTimeout, Log: slog.New(slog.DiscardHandler)}, Shop{Carts: &fakeShop{}}, (&fakeReadiness{}).Ready)
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= s.ReadHeaderTimeout || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("a limit is missing: %+v", s)
	}
	if s.WriteTimeout <= s.ReadTimeout+requestTimeout {
		t.Errorf("WriteTimeout %s cuts off a request that arrives slowly and is worked on for %s", s.WriteTimeout, requestTimeout)
	}
}

// With a shop that does nothing this is the stack that the shop's own speed is measured against.
func BenchmarkAddToCartHandler(b *testing.B) {
	handler := New(Config{RequestTimeout: time.Second, Log: slog.New(slog.DiscardHandler)}, Shop{Carts: idleShop{}}, (&fakeReadiness{}).Ready).Handler
	body := strings.NewReader(validAdd)
	r, err := http.NewRequest(http.MethodPost, "/addToCart", io.NopCloser(body))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(len(validAdd))
	w := &discardingWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(validAdd)
		clear(w.header)
		handler.ServeHTTP(w, r)
		if w.code != http.StatusOK {
			b.Fatal(w.code)
		}
	}
}

type idleShop struct{ carts }

func (idleShop) AddToCart(context.Context, cart.LineChange) error        { return nil }
func (idleShop) CheckOut(context.Context, cart.Purchase) (string, error) { return "", nil }

type discardingWriter struct {
	header http.Header
	code   int
}

func (w *discardingWriter) Header() http.Header         { return w.header }
func (w *discardingWriter) WriteHeader(code int)        { w.code = code }
func (w *discardingWriter) Write(p []byte) (int, error) { return len(p), nil }

func TestServer_countsRequestsByRouteAndCode(t *testing.T) {
	t.Parallel()
	m := metrics.New("")
	s := setup(t, Config{Metrics: m, RateLimit: 0.000001}) // one request of a minute's worth
	s.do(http.MethodPost, PathAddToCart, `{"clientID":"ann","productID":"mug","quantity":1}`)
	s.do(http.MethodPost, PathCheckOutCart, `{"clientID":"ann"}`) // over the rate
	s.do(http.MethodGet, PathHealthz, "")
	s.do(http.MethodGet, PathDocumentation+"/doc.json", "")
	s.do(http.MethodGet, PathDocumentation+"ary", "") // over the rate
	for _, want := range []struct {
		route string
		code  int
	}{
		{PathAddToCart, 200}, {PathCheckOutCart, 429}, {PathHealthz, 200}, {PathDocumentation, 200}, {"other", 429},
	} {
		if got := m.Answers(want.route).Codes[want.code]; got != 1 {
			t.Errorf("%s answered %d: counted %d times, want once; all: %v", want.route, want.code, got, m.Answers(want.route).Codes)
		}
	}
	for path := range s.http.methods {
		if route := strings.TrimSuffix(path, "/*"); len(m.Answers(route).Codes) == 0 {
			t.Errorf("%s is no route of the metrics", route)
		}
	}
}

func TestServer_pendingIsLoggedWithRequestAndCheckout(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	s.shop.answer = func(context.Context) error { return &checkout.PendingError{CheckoutID: "checkout-7"} }
	s.do(http.MethodPost, PathCheckOutCart, `{"clientID":"ann"}`, headerRequestID, "request-5")
	log := s.log.String()
	if !strings.Contains(log, `"request_id":"request-5"`) || !strings.Contains(log, "checkout checkout-7") {
		t.Errorf("the one does not lead to the other: %s", log)
	}
	if strings.Contains(log, "ann") {
		t.Errorf("the log names the client: %s", log)
	}
}

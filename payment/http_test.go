package payment

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

// impatient is the tuning of tests: everything as in production, but sooner.
func impatient() tuning {
	return tuning{attempts: 3, firstWait: time.Millisecond, maxWait: 4 * time.Millisecond, openFor: 20 * time.Millisecond}
}

func connect(t *testing.T, rawURL string, options Options) *HTTPGateway {
	t.Helper()
	opened, err := Open(rawURL, options)
	if err != nil {
		t.Fatal(err)
	}
	gateway := opened.(*HTTPGateway)
	gateway.tuning = impatient()
	gateway.breaker = newBreaker("test", gateway.tuning.openFor, gateway.timeout, gateway.log, options.Observe.BreakerChanged)
	t.Cleanup(gateway.Close)
	return gateway
}

func order(id string) Order {
	return Order{CheckoutID: id, ClientID: "ann", Items: []Item{{ProductID: "tea", Quantity: 2}}}
}

// ask makes one of the three calls. The result of a refund is its error alone.
func ask(ctx context.Context, gateway Gateway, call, id string) (Result, error) {
	switch call {
	case "charge":
		return gateway.Charge(ctx, order(id))
	case "void":
		return gateway.Void(ctx, id)
	default:
		return Result{}, gateway.Refund(ctx, id)
	}
}

func mustBeUnknown(t *testing.T, what string, result Result, err error) {
	t.Helper()
	if err == nil || errors.Is(err, ErrNotSent) || result != (Result{}) {
		t.Errorf("%s = %v, %v; want an unknown outcome", what, result, err)
	}
}

func TestGateway_makesTheCallsOfTheProtocol(t *testing.T) {
	t.Parallel()
	type request struct{ Method, URI, Proto, ContentType, Body string }
	var got []request
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, request{r.Method, r.RequestURI, r.Proto, r.Header.Get("Content-Type"), string(body)})
		switch r.Method {
		case http.MethodPut:
			_, _ = io.WriteString(w, `{"status":"approved"}`)
		case http.MethodDelete:
			_, _ = io.WriteString(w, `{"status":"voided"}`)
		default:
			_, _ = io.WriteString(w, `{"status":"refunded"}`)
		}
	})
	gateway := connect(t, s.URL+"/ba%2Fse/", Options{})
	const id = "a/b ?%ü"
	for _, call := range []string{"charge", "void", "refund"} {
		if _, err := ask(t.Context(), gateway, call, id); err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	const path = "/ba%2Fse/payments/a%2Fb%20%3F%25%C3%BC"
	want := []request{
		{"PUT", path, "HTTP/1.1", "application/json", `{"clientID":"ann","items":[{"productID":"tea","quantity":2}]}`},
		{"DELETE", path, "HTTP/1.1", "", ""},
		{"POST", path + "/refund", "HTTP/1.1", "", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := s.connections.Load(); got != 1 {
		t.Errorf("three calls one after the other took %d connections, want 1", got)
	}
}

func TestLookup_anythingOutsideOfTheProtocolIsNoLookup(t *testing.T) {
	t.Parallel()
	tea := []Item{{ProductID: "tea", Quantity: 2}}
	tests := []struct {
		code int
		body string
		want Payment
		err  error
	}{
		{200, `{"status":"approved","items":[{"productID":"tea","quantity":2}],"reference":"order 7"}`, Payment{Approved, tea, "order 7"}, nil},
		{200, `{"status":"refunded","extra":1}`, Payment{Status: Refunded}, nil},
		{404, `{"status":"unknown"}`, Payment{Status: Unknown}, nil},
		{200, `{"status":"unknown"}`, Payment{}, ErrNoLookup},
		{404, `not found`, Payment{}, ErrNoLookup},
		{405, ``, Payment{}, ErrNoLookup},
		{200, `{"status":"charged"}`, Payment{}, ErrNoLookup},
		{500, `{"status":"approved"}`, Payment{}, ErrNoLookup},
	}
	for _, test := range tests {
		gateway := connect(t, serve(t, answerWith(test.code, test.body)).URL, Options{})
		got, err := gateway.Lookup(t.Context(), "1")
		if !errors.Is(err, test.err) || (test.err == nil && err != nil) || !cmp.Equal(got, test.want) {
			t.Errorf("%d %s: %v, %v; want %v, %v", test.code, test.body, got, err, test.want, test.err)
		}
	}
	gateway := connect(t, "http://"+refusing(t), Options{})
	if _, err := gateway.Lookup(t.Context(), "1"); !errors.Is(err, ErrNotSent) || errors.Is(err, ErrNoLookup) {
		t.Errorf("a service that is down: %v, want ErrNotSent", err)
	}
}

func TestCharge_carriesTheReference(t *testing.T) {
	t.Parallel()
	var got string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = string(body)
		_, _ = io.WriteString(w, `{"status":"approved"}`)
	})
	o := order("1")
	o.Reference = "auth 7"
	if _, err := connect(t, s.URL, Options{}).Charge(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if want := `{"clientID":"ann","reference":"auth 7","items":[{"productID":"tea","quantity":2}]}`; got != want {
		t.Errorf("body %s, want %s", got, want)
	}
}

func TestGateway_parsesAnswersOfTheProtocol(t *testing.T) {
	t.Parallel()
	tests := []struct {
		call string
		code int
		body string
		want Result
	}{
		{"charge", 200, `{"status":"approved"}`, Result{Status: Approved}},
		{"charge", 200, ` {"id":7,"more":{"status":["x"]},"status":"approved"} ` + "\n", Result{Status: Approved}},
		{"charge", 200, `{"status":"declined","reason":"no funds"}`, Result{Declined, "no funds"}},
		{"charge", 200, `{"status":"declined","reason":null}`, Result{Status: Declined}},
		{"charge", 200, `{"reason":" a\u0000b\nc ","status":"declined"}`, Result{Declined, "a b c"}},
		{"charge", 200, `{"status":"declined","reason":"` + strings.Repeat("ü", 400) + `"}`, Result{Declined, strings.Repeat("ü", 299) + "…"}},
		{"charge", 409, `{"status":"voided"}`, Result{Status: Voided}},
		{"void", 200, `{"status":"voided"}`, Result{Status: Voided}},
		{"void", 409, `{"status":"approved"}`, Result{Status: Approved}},
		{"refund", 200, `{"status":"refunded"}`, Result{}},
	}
	for _, test := range tests {
		gateway := connect(t, serve(t, answerWith(test.code, test.body)).URL, Options{})
		if got, err := ask(t.Context(), gateway, test.call, "1"); err != nil || got != test.want {
			t.Errorf("%s answered %d %s = %v, %v; want %v", test.call, test.code, test.body, got, err, test.want)
		}
	}
}

func TestGateway_anyOtherAnswerIsUnknown(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		call     string
		code     int
		body     string
		attempts int64
	}{
		{"approved as a conflict", "charge", 409, `{"status":"approved"}`, 1},
		{"voided as a success", "charge", 200, `{"status":"voided"}`, 1},
		{"declined as 402", "charge", 402, `{"status":"declined"}`, 1},
		{"approved as created", "charge", 201, `{"status":"approved"}`, 1},
		{"approved as a void's success", "void", 200, `{"status":"approved"}`, 1},
		{"voided as a void's conflict", "void", 409, `{"status":"voided"}`, 1},
		{"declined to a void", "void", 200, `{"status":"declined"}`, 1},
		{"not found to a void", "void", 404, `{"status":"voided"}`, 1},
		{"refund refused", "refund", 409, `{"status":"refunded"}`, 1},
		{"voided to a refund", "refund", 200, `{"status":"voided"}`, 1},
		{"no content", "charge", 204, ``, 1},
		{"empty", "charge", 200, ``, 1},
		{"no JSON", "charge", 200, `approved`, 1},
		{"a page", "charge", 200, `<html>approved</html>`, 1},
		{"an array", "charge", 200, `[{"status":"approved"}]`, 1},
		{"a string", "charge", 200, `"approved"`, 1},
		{"null", "charge", 200, `null`, 1},
		{"no status", "charge", 200, `{"state":"approved"}`, 1},
		{"status null", "charge", 200, `{"status":null}`, 1},
		{"status a number", "charge", 200, `{"status":1}`, 1},
		{"status an object", "charge", 200, `{"status":{"status":"approved"}}`, 1},
		{"status in capitals", "charge", 200, `{"status":"APPROVED"}`, 1},
		{"name in capitals", "charge", 200, `{"STATUS":"approved"}`, 1},
		{"status with a space", "charge", 200, `{"status":"approved "}`, 1},
		{"two states", "charge", 200, `{"status":"declined","status":"approved"}`, 1},
		{"two objects", "charge", 200, `{"status":"approved"}{"status":"declined"}`, 1},
		{"something after", "charge", 200, `{"status":"approved"}!`, 1},
		{"cut short", "charge", 200, `{"status":"approved"`, 1},
		{"broken after the status", "charge", 200, `{"status":"approved","x":}`, 1},
		{"reason a number", "charge", 200, `{"status":"declined","reason":1}`, 1},
		{"invalid UTF-8", "charge", 200, "{\"status\":\"declined\",\"reason\":\"\xff\"}", 1},
		{"too long", "charge", 200, `{"status":"approved","x":"` + strings.Repeat("x", maxAnswerBytes) + `"}`, 1},
		{"too long after the object", "charge", 200, `{"status":"approved"}` + strings.Repeat(" ", maxAnswerBytes), 1},
		{"bad request", "charge", 400, `{"status":"approved"}`, 1},
		{"unauthorized", "void", 401, `{"status":"voided"}`, 1},
		{"too many", "charge", 429, `{"status":"approved"}`, 3},
		{"internal error", "charge", 500, `{"status":"approved"}`, 3},
		{"internal error to a void", "void", 500, `{"status":"voided"}`, 3},
		{"internal error to a refund", "refund", 500, `{"status":"refunded"}`, 3},
		{"bad gateway", "charge", 502, `<html>`, 3},
		{"unavailable", "charge", 503, ``, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, answerWith(test.code, test.body))
			result, err := ask(t.Context(), connect(t, s.URL, Options{}), test.call, "1")
			mustBeUnknown(t, test.call, result, err)
			if got := s.requests.Load(); got != test.attempts {
				t.Errorf("%d attempts, want %d", got, test.attempts)
			}
		})
	}
}

func TestGateway_doesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	for _, code := range []int{301, 302, 303, 307, 308} {
		target := serve(t, answerWith(200, `{"status":"approved"}`))
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", target.URL)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"status":"approved"}`)
		})
		result, err := connect(t, s.URL, Options{}).Charge(t.Context(), order("1"))
		mustBeUnknown(t, strconv.Itoa(code), result, err)
		if got := target.requests.Load(); got != 0 {
			t.Errorf("%d was followed", code)
		}
	}
}

func TestCharge_brokenConnectionIsRetriedThenUnknown(t *testing.T) {
	t.Parallel()
	breaks := map[string]func(net.Conn){
		"hung up": func(c net.Conn) { _ = c.Close() },
		"reset": func(c net.Conn) {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		},
		"reset inside the head": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-")
			_ = c.Close()
		},
		"reset inside the body": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n"+`{"status":"approved"}`)
			_ = c.Close()
		},
		"chunks without an end": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n"+`{"status":"approved"}`+"\r\n")
			_ = c.Close()
		},
		"no HTTP": func(c net.Conn) {
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n")
			_ = c.Close()
		},
	}
	for name, hangUp := range breaks {
		for _, call := range []string{"charge", "void", "refund"} {
			t.Run(name+" during a "+call, func(t *testing.T) {
				t.Parallel()
				s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
					conn, _, err := w.(http.Hijacker).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					hangUp(conn)
				})
				result, err := ask(t.Context(), connect(t, s.URL, Options{}), call, "1")
				mustBeUnknown(t, call, result, err)
				if got := s.requests.Load(); got != 3 {
					t.Errorf("%d attempts, want 3", got)
				}
			})
		}
	}
}

func TestCharge_lateSuccessIsAnswered(t *testing.T) {
	t.Parallel()
	var tries atomic.Int64
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, `{"status":"approved"}`)
	})
	var retried atomic.Int64
	var outcome, began string
	gateway := connect(t, s.URL, Options{Observe: Observer{
		Began:   func(call string) { began += call },
		Retried: func(string) { retried.Add(1) },
		Called:  func(call, ended string, _ time.Duration) { outcome = call + " " + ended },
	}})
	if got, err := gateway.Charge(t.Context(), order("1")); err != nil || got.Status != Approved {
		t.Errorf("Charge = %v, %v", got, err)
	}
	if retried.Load() != 2 || began != "charge" || outcome != "charge approved" {
		t.Errorf("observed %q, %d repeats and %q", began, retried.Load(), outcome)
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

func TestCharge_withoutAConnectionIsNotSent(t *testing.T) {
	t.Parallel()
	var retried atomic.Int64
	gateway := connect(t, "http://"+refusing(t), Options{Observe: Observer{Retried: func(string) { retried.Add(1) }}})
	for _, call := range []string{"charge", "void", "refund"} {
		if _, err := ask(t.Context(), gateway, call, "1"); !errors.Is(err, ErrNotSent) {
			t.Errorf("%s = %v, want ErrNotSent", call, err)
		}
	}
	if got := retried.Load(); got != 6 {
		t.Errorf("%d repeats, want 2 for each of 3 calls", got)
	}
}

func TestCharge_isNotUnsentWhenOneAttemptWasSent(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // takes the first attempt, then nobody listens any more
		defer close(done)
		conn, err := listener.Accept()
		_ = listener.Close()
		if err == nil {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}()
	result, err := connect(t, "http://"+listener.Addr().String(), Options{}).Charge(t.Context(), order("1"))
	<-done
	mustBeUnknown(t, "Charge", result, err)
}

func TestCharge_invalidIDIsNotSent(t *testing.T) {
	t.Parallel()
	s := serve(t, answerWith(200, `{"status":"approved"}`))
	gateway := connect(t, s.URL, Options{})
	for _, id := range []string{"", ".", ".."} {
		if _, err := gateway.Charge(t.Context(), order(id)); !errors.Is(err, ErrNotSent) {
			t.Errorf("Charge of %q = %v, want ErrNotSent", id, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := gateway.Charge(ended, order("1")); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Errorf("Charge after its caller left = %v, want ErrNotSent", err)
	}
	if got := s.requests.Load(); got != 0 {
		t.Errorf("%d requests, want none", got)
	}
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

func TestCharge_timeoutLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"silent": "", "stuck inside the body": `{"status":"appr`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := silent(t, head)
			gateway := connect(t, s.URL, Options{Timeout: 300 * time.Millisecond})
			result, err := gateway.Charge(t.Context(), order("1"))
			mustBeUnknown(t, "Charge", result, err)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Charge = %v, want it to say that the time was over", err)
			}
			nearer, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			result, err = connect(t, s.URL, Options{}).Charge(nearer, order("1"))
			mustBeUnknown(t, "Charge with a caller's deadline", result, err)
			if got := s.requests.Load(); got != 2 {
				t.Errorf("%d attempts, want 1 for each call", got)
			}
		})
	}
}

func TestCharge_retryThatWouldOutlastTheTimeoutIsNotBegun(t *testing.T) {
	t.Parallel()
	s := serve(t, answerWith(503, ""))
	gateway := connect(t, s.URL, Options{Timeout: 10 * time.Second})
	gateway.tuning.firstWait, gateway.tuning.maxWait = time.Minute, time.Minute
	started := time.Now()
	result, err := gateway.Charge(t.Context(), order("1"))
	mustBeUnknown(t, "Charge", result, err)
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it waited %v for nothing", took)
	}
	if !strings.Contains(err.Error(), "503") {
		t.Errorf("the error %v does not say what the gateway answered", err)
	}
}

func TestBreaker_callersThatLeaveAreNoFailures(t *testing.T) {
	t.Parallel()
	s, asked := silent(t, "")
	var outcomes sync.Map
	gateway := connect(t, s.URL, Options{Observe: Observer{Called: func(_, outcome string, _ time.Duration) { outcomes.Store(outcome, true) }}})
	for i := range 2 * breakerMinimum {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-asked
			cancel()
		}()
		result, err := gateway.Charge(ctx, order(fmt.Sprint(i)))
		mustBeUnknown(t, "Charge", result, err)
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("Charge = %v, want it to say that the caller left", err)
		}
	}
	if err := gateway.Available(); err != nil {
		t.Errorf("Available = %v after callers left", err)
	}
	if _, ok := outcomes.Load("cancelled"); !ok {
		t.Error("no call was observed as cancelled")
	}
}

func TestGateway_signsThePathAsRequested(t *testing.T) {
	t.Parallel()
	const secret = "sesame"
	var checked atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		header := r.Header.Get("Cartwheel-Signature")
		var seconds int64
		var signature string
		if _, err := fmt.Sscanf(header, "t=%d,v1=%s", &seconds, &signature); err != nil {
			t.Errorf("header %q: %v", header, err)
		}
		if off := time.Since(time.Unix(seconds, 0)); off < -time.Minute || off > time.Minute {
			t.Errorf("signed at %v, which is %v ago", seconds, off)
		}
		mac := hmac.New(sha256.New, []byte(secret))
		_, _ = fmt.Fprintf(mac, "%d.%s.%s.%s", seconds, r.Method, r.RequestURI, body)
		if want := hex.EncodeToString(mac.Sum(nil)); signature != want {
			t.Errorf("%s %s is signed %s, want %s", r.Method, r.RequestURI, signature, want)
		}
		checked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	gateway := connect(t, s.URL+"/base/", Options{Secret: secret})
	for _, call := range []string{"charge", "void", "refund"} {
		_, err := ask(t.Context(), gateway, call, "a/b")
		mustBeUnknown(t, call, Result{}, err)
	}
	if got := checked.Load(); got != 9 {
		t.Errorf("checked %d signatures, want 9", got)
	}
}

func TestSignature_matchesAKnownValue(t *testing.T) {
	t.Parallel()
	// printf '%s' '1700000000.PUT./base/payments/1.{"clientID":"ann","items":[]}' | openssl dgst
	// -sha256 -hmac sesame
	got := sign("sesame", time.Unix(1_700_000_000, 0), "PUT", "/base/payments/1", []byte(`{"clientID":"ann","items":[]}`))
	want := "t=1700000000,v1=129d0334d6f787787b03b8a6cece007a918fd2ac171838d31878717629104c12"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOpen_userinfoBecomesBasicAuthentication(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "shop" || password != "hunter2" {
			t.Errorf("BasicAuth = %q, %q, %v", user, password, ok)
		}
		w.WriteHeader(http.StatusForbidden)
	})
	gateway := connect(t, strings.Replace(s.URL, "http://", "http://shop:hunter2@", 1), Options{})
	_, err := gateway.Void(t.Context(), "1")
	mustBeUnknown(t, "Void", Result{}, err)
	if strings.Contains(err.Error()+gateway.String(), "hunter2") {
		t.Errorf("the password shows in %v or %s", err, gateway)
	}
}

func TestGateway_boundsItsConnections(t *testing.T) {
	t.Parallel()
	const callers, bound, rounds = 1500, 50, 2
	s := serve(t, answerWith(200, `{"status":"approved"}`))
	gateway := connect(t, s.URL, Options{MaxInFlight: bound, Timeout: time.Minute})
	for round := range rounds {
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				if got, err := gateway.Charge(t.Context(), order(fmt.Sprint(round, i))); err != nil || got.Status != Approved {
					t.Errorf("Charge = %v, %v", got, err)
				}
			})
		}
		group.Wait()
	}
	if got := s.requests.Load(); got != callers*rounds {
		t.Errorf("%d requests, want %d", got, callers*rounds)
	}
	// A connection that breaks is replaced, so a few more may be opened one after the other.
	if got := s.connections.Load(); got > bound*11/10 {
		t.Errorf("%d connections, want hardly more than %d", got, bound)
	}
}

func TestGateway_burstsReuseConnections(t *testing.T) {
	t.Parallel()
	const callers = 500
	var gate sync.WaitGroup
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		gate.Done()
		gate.Wait() // all of a burst are in flight at once
		_, _ = io.WriteString(w, `{"status":"approved"}`)
	})
	gateway := connect(t, s.URL, Options{Timeout: time.Minute})
	for round := range 3 {
		gate.Add(callers)
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				if _, err := gateway.Charge(t.Context(), order(fmt.Sprint(round, i))); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	// A connection goes back a moment after its answer, so a later burst may dial a few more.
	if got := s.connections.Load(); got < callers || got > callers*11/10 {
		t.Errorf("three bursts of %d took %d connections, want hardly more than one burst", callers, got)
	}
}

package payment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// HTTPGateway calls the shop's payment service over HTTP/1.1 (docs/architecture.md, "Payment
// protocol"). An answer outside of that protocol leaves the outcome unknown.
//
// All calls are repeat-safe under the protocol: a broken connection, a 5xx and a 429 are retried
// with backoff and jitter within the timeout. A circuit breaker stops charges to a service that
// keeps failing. Redirects, cookies, compression and the environment's proxies (HTTP_PROXY) are not
// used.
type HTTPGateway struct {
	base          string // scheme, host and escaped path, without a trailing slash
	name          string // base as a person may see it
	authorization string // for the header; empty without userinfo in the URL
	secret        string
	timeout       time.Duration
	log           *slog.Logger
	observe       Observer
	tuning        tuning
	breaker       *breaker
	transport     http.RoundTripper // an *http.Transport, but for tests
}

// tuning is what tests make smaller.
type tuning struct {
	attempts  uint          // of one call, the first included
	firstWait time.Duration // before the second attempt, give or take half of it
	maxWait   time.Duration // between later ones
	openFor   time.Duration // how long the breaker stays open before a probe
}

func defaultTuning() tuning {
	return tuning{
		attempts:  3,
		firstWait: 50 * time.Millisecond,
		maxWait:   time.Second,
		openFor:   2 * time.Second,
	}
}

const (
	dialTimeout      = 3 * time.Second
	handshakeTimeout = 5 * time.Second
	keepAlivePeriod  = 15 * time.Second
	idleTimeout      = 30 * time.Second // less than most servers', whose hanging up would cost an attempt
	maxHeaderBytes   = 64 << 10
)

// parseBase checks a gateway's URL. Its errors do not quote the URL: it may hold a password.
func parseBase(parsed *url.URL) (*url.URL, error) {
	switch {
	case parsed.Opaque != "" || parsed.Hostname() == "":
		return nil, fmt.Errorf("payment URL %q has no host: expected http://host/base or https://host/base", parsed.Redacted())
	case !validPort(parsed.Port()):
		return nil, fmt.Errorf("payment URL of host %s has port %s: expected 1 to 65535", parsed.Host, parsed.Port())
	case parsed.RawQuery != "" || parsed.ForceQuery:
		return nil, fmt.Errorf("payment URL of host %s has a query: expected http://host/base without one, as paths are added to it", parsed.Host)
	case parsed.Fragment != "":
		return nil, fmt.Errorf("payment URL of host %s has a fragment: expected http://host/base without one", parsed.Host)
	}
	for segment := range strings.SplitSeq(parsed.Path, "/") {
		if segment == "." || segment == ".." {
			return nil, fmt.Errorf("payment URL of host %s has %q in its path: expected http://host/base in plain form", parsed.Host, segment)
		}
	}
	return parsed, nil
}

// validPort takes an absent port for valid: it is the scheme's.
func validPort(port string) bool {
	number, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && number > 0
}

func newHTTPGateway(base *url.URL, options Options, tuning tuning) *HTTPGateway {
	visible := url.URL{Scheme: base.Scheme, Host: base.Host, Path: base.Path, RawPath: base.RawPath}
	name := strings.TrimRight(visible.String(), "/")
	gateway := &HTTPGateway{
		base:    name,
		name:    name,
		secret:  options.Secret,
		timeout: options.Timeout,
		log:     options.Log,
		observe: options.Observe,
		tuning:  tuning,
		breaker: newBreaker(name, tuning.openFor, options.Timeout, options.Log, options.Observe.BreakerChanged),
		transport: &http.Transport{
			Proxy:                  nil,
			DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlivePeriod}).DialContext,
			Protocols:              http1(),
			TLSHandshakeTimeout:    handshakeTimeout,
			DisableCompression:     true,
			MaxConnsPerHost:        options.MaxInFlight,
			MaxIdleConns:           options.MaxInFlight,
			MaxIdleConnsPerHost:    options.MaxInFlight,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			// No ResponseHeaderTimeout: each call's context bounds the whole of it.
		},
	}
	if base.User != nil {
		password, _ := base.User.Password()
		request := http.Request{Header: make(http.Header)}
		request.SetBasicAuth(base.User.Username(), password)
		gateway.authorization = request.Header.Get("Authorization")
	}
	return gateway
}

// http1 excludes HTTP/2, which would put thousands of payments on one connection: one lost packet
// delays all of them, and the server's stream limit replaces ours.
func http1() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return protocols
}

// Charge implements [Gateway]. While the circuit breaker is open it answers [ErrNotSent], which is
// [ErrUnavailable] too.
func (g *HTTPGateway) Charge(ctx context.Context, order Order) (Result, error) {
	body := struct {
		ClientID  string `json:"clientID"`
		Reference string `json:"reference,omitempty"`
		Items     []Item `json:"items"`
	}{order.ClientID, order.Reference, order.Items}
	if body.Items == nil {
		body.Items = []Item{}
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return Result{}, fmt.Errorf("charge %s: %w: encode the order: %w", order.CheckoutID, ErrNotSent, err)
	}
	return g.do(ctx, chargeCall(), order.CheckoutID, encoded)
}

// Void implements [Gateway]. The circuit breaker does not apply to it.
func (g *HTTPGateway) Void(ctx context.Context, checkoutID string) (Result, error) {
	return g.do(ctx, voidCall(), checkoutID, nil)
}

// Refund implements [Gateway]. The circuit breaker does not apply to it.
func (g *HTTPGateway) Refund(ctx context.Context, checkoutID string) error {
	result, err := g.do(ctx, refundCall(), checkoutID, nil)
	if err == nil && result.Status == refused {
		return &RefusedError{result.Reason}
	}
	return err
}

// Lookup implements [Gateway]. The circuit breaker does not apply to it.
func (g *HTTPGateway) Lookup(ctx context.Context, checkoutID string) (Payment, error) {
	var found Payment
	_, err := g.observed(lookupCall(), checkoutID, func() (Result, error) {
		e := &exchange{gateway: g, call: lookupCall(), checkoutID: checkoutID}
		result, err := g.send(ctx, e)
		found = e.payment
		return result, err
	})
	return found, err
}

// Available implements [Gateway]: [ErrUnavailable] while the circuit breaker refuses every charge.
func (g *HTTPGateway) Available() error { return g.breaker.available() }

// String implements [Gateway].
func (g *HTTPGateway) String() string { return g.name }

// Close implements [Gateway].
func (g *HTTPGateway) Close() {
	if transport, ok := g.transport.(*http.Transport); ok {
		transport.CloseIdleConnections()
	}
}

// do makes one call, a charge through the circuit breaker.
func (g *HTTPGateway) do(ctx context.Context, c call, checkoutID string, body []byte) (Result, error) {
	return g.observed(c, checkoutID, func() (Result, error) {
		send := func() (Result, error) {
			return g.send(ctx, &exchange{gateway: g, call: c, checkoutID: checkoutID, body: body})
		}
		if c.charges() {
			return g.breaker.charge(send)
		}
		return send()
	})
}

// observed reports a call to the observer.
func (g *HTTPGateway) observed(c call, checkoutID string, send func() (Result, error)) (Result, error) {
	started := time.Now()
	if g.observe.Began != nil {
		g.observe.Began(c.name)
	}
	result, err := send()
	outcome := string(result.Status)
	switch {
	case err != nil:
		err = fmt.Errorf("%s %s: %w", c.name, checkoutID, err)
		outcome = failedOutcome(err)
	case outcome == "":
		outcome = "found"
	}
	if g.observe.Called != nil {
		g.observe.Called(c.name, outcome, time.Since(started))
	}
	return result, err
}

// failedOutcome names an error for metrics.
func failedOutcome(err error) string {
	switch {
	case errors.Is(err, ErrNotSent):
		return "not_sent"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	default:
		return "unknown"
	}
}

// send makes one call, with its attempts.
func (g *HTTPGateway) send(ctx context.Context, e *exchange) (Result, error) {
	// Proxies remove dot segments from a path: the call would be about another payment.
	if e.checkoutID == "" || e.checkoutID == "." || e.checkoutID == ".." {
		return Result{}, fmt.Errorf("%w: %q is not an ID", ErrNotSent, e.checkoutID)
	}
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	result, err := e.run(ctx)
	switch {
	case err == nil:
		return result, nil
	case errors.Is(ctx.Err(), context.Canceled):
		err = fmt.Errorf("%w: %w", context.Canceled, err)
	case ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if e.connected {
		return Result{}, fmt.Errorf("outcome unknown: %w", err)
	}
	return Result{}, fmt.Errorf("%w: %w", ErrNotSent, err)
}

// exchange is one call and its attempts. It belongs to the caller's goroutine.
type exchange struct {
	gateway    *HTTPGateway
	call       call
	checkoutID string
	body       []byte
	// connected is set when any attempt got a connection. Only without one is it certain that no
	// byte left.
	connected bool
	attempts  int
	payment   Payment // a lookup's answer
}

// run makes attempts until one is answered, one fails for good, or there is no time or attempt
// left. Its error is the last attempt's.
func (e *exchange) run(ctx context.Context) (Result, error) {
	g := e.gateway
	options := []backoff.RetryOption{
		backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval:     g.tuning.firstWait,
			RandomizationFactor: backoff.DefaultRandomizationFactor,
			Multiplier:          3,
			MaxInterval:         g.tuning.maxWait,
		}),
		backoff.WithMaxTries(g.tuning.attempts),
		backoff.WithNotify(func(error, time.Duration) {
			if g.observe.Retried != nil {
				g.observe.Retried(e.call.name)
			}
		}),
	}
	if deadline, ok := ctx.Deadline(); ok {
		// A wait that would outlast the call's time is not begun: how the call ends is known now.
		options = append(options, backoff.WithMaxElapsedTime(max(time.Until(deadline), 1)))
	}
	var last error
	result, err := backoff.Retry(ctx, func() (Result, error) {
		var result Result
		result, last = e.attempt(ctx)
		if _, repeat := errors.AsType[passing](last); last != nil && !repeat {
			return Result{}, backoff.Permanent(last)
		}
		return result, last
	}, options...)
	if err != nil {
		return Result{}, last // Retry may answer with the context's error, which says less
	}
	return result, nil
}

// passing marks a failure that a repeat may not meet again.
type passing struct{ error }

func (p passing) Unwrap() error { return p.error }

// attempt sends the request once and parses the answer.
func (e *exchange) attempt(ctx context.Context) (Result, error) {
	g := e.gateway
	e.attempts++
	request, err := e.request(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("make the request: %w", err)
	}
	response, err := g.transport.RoundTrip(request)
	if err != nil {
		return Result{}, e.failed(passing{fmt.Errorf("reach the payment service: %w", err)})
	}
	defer response.Body.Close() //nolint:errcheck // the answer is read by then, or given up
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return Result{}, e.failed(passing{fmt.Errorf("read the payment service's answer, a %d: %w", response.StatusCode, err)})
	case len(body) > maxAnswerBytes:
		return Result{}, e.failed(fmt.Errorf("the payment service answered %d with more than %d bytes", response.StatusCode, maxAnswerBytes))
	}
	var result Result
	if e.call.method == http.MethodGet {
		e.payment, err = parseLookup(response.StatusCode, body)
	} else {
		result, err = e.call.parse(response.StatusCode, body)
	}
	switch {
	case err == nil:
		return result, nil
	case response.StatusCode >= http.StatusInternalServerError || response.StatusCode == http.StatusTooManyRequests:
		return Result{}, e.failed(passing{err})
	default:
		return Result{}, e.failed(err)
	}
}

func (e *exchange) failed(err error) error {
	e.gateway.log.Debug("payment attempt failed", "call", e.call.name, "checkout", e.checkoutID, "attempt", e.attempts, "error", err)
	return err
}

func (e *exchange) request(ctx context.Context) (*http.Request, error) {
	g := e.gateway
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { e.connected = true }}
	target := g.base + "/payments/" + url.PathEscape(e.checkoutID) + e.call.suffix
	var body io.Reader = http.NoBody
	if e.body != nil {
		body = bytes.NewReader(e.body)
	}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), e.call.method, target, body)
	if err != nil {
		return nil, err
	}
	if e.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "cartwheel")
	if g.authorization != "" {
		request.Header.Set("Authorization", g.authorization)
	}
	if g.secret != "" {
		request.Header.Set(signatureHeader, sign(g.secret, time.Now(), e.call.method, request.URL.EscapedPath(), e.body))
	}
	return request, nil
}

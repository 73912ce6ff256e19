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

// HTTPGateway speaks to the shop's payment service over HTTP/1.1, as the page on the payment gateway
// describes. Whatever is not an answer of that protocol, word and code, leaves the outcome unknown.
//
// All three calls are safe to repeat under the protocol, so a broken connection, a 5xx and a 429 are tried
// again, with backoff and jitter, while the call's time lasts. A gateway that keeps failing is left alone by
// a circuit breaker. Redirects are not followed, cookies not kept, compressed answers not asked for, and
// proxies of the environment (HTTP_PROXY and its kin) not used: what carries payments is named in the URL.
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
	openFor   time.Duration // how long the breaker lets nothing through
}

func defaultTuning() tuning {
	return tuning{
		attempts:  3,
		firstWait: 50 * time.Millisecond,
		maxWait:   time.Second,
		// Short enough for a void to find the gateway back within the request that asks for it.
		openFor: 2 * time.Second,
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
		breaker: newBreaker(name, tuning.openFor, options.Log, options.Observe.BreakerChanged),
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

// http1 leaves HTTP/2 out: it would put thousands of payments on one connection, where one lost packet
// holds up all of them and the gateway's limit of streams, not ours, rules.
func http1() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return protocols
}

// Charge implements [Gateway]. While the circuit breaker is open it answers [ErrNotSent], which is
// [ErrUnavailable] too.
func (g *HTTPGateway) Charge(ctx context.Context, order Order) (Result, error) {
	body := struct {
		ClientID string `json:"clientID"`
		Items    []Item `json:"items"`
	}{order.ClientID, order.Items}
	if body.Items == nil {
		body.Items = []Item{}
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return Result{}, fmt.Errorf("charge %s: %w: encode the order: %w", order.CheckoutID, ErrNotSent, err)
	}
	return g.do(ctx, chargeCall(), order.CheckoutID, encoded)
}

// Void implements [Gateway]. The circuit breaker refuses it as it does a charge, with [ErrNotSent]; a void
// that comes when the breaker's time is over is let through and closes it when the gateway answers.
func (g *HTTPGateway) Void(ctx context.Context, checkoutID string) (Result, error) {
	return g.do(ctx, voidCall(), checkoutID, nil)
}

// Refund implements [Gateway]. The circuit breaker treats it as it does a void.
func (g *HTTPGateway) Refund(ctx context.Context, checkoutID string) error {
	_, err := g.do(ctx, refundCall(), checkoutID, nil)
	return err
}

// Available implements [Gateway]: [ErrUnavailable] while the circuit breaker would refuse a charge. When its
// time open is over, one caller at a time gets nil, whose charge is let through to see whether the gateway is
// back; if none comes within a second, the next caller gets it.
func (g *HTTPGateway) Available() error { return g.breaker.available() }

// String implements [Gateway].
func (g *HTTPGateway) String() string { return g.name }

// Close implements [Gateway].
func (g *HTTPGateway) Close() {
	if transport, ok := g.transport.(*http.Transport); ok {
		transport.CloseIdleConnections()
	}
}

// do makes one call and reports it.
func (g *HTTPGateway) do(ctx context.Context, c call, checkoutID string, body []byte) (Result, error) {
	started := time.Now()
	if g.observe.Began != nil {
		g.observe.Began(c.name)
	}
	result, err := g.guarded(ctx, c, checkoutID, body)
	outcome := string(result.Status)
	if err != nil {
		err = fmt.Errorf("%s %s: %w", c.name, checkoutID, err)
		outcome = failedOutcome(err)
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

// guarded makes one call through the breaker and tells it how the call ended.
func (g *HTTPGateway) guarded(ctx context.Context, c call, checkoutID string, body []byte) (Result, error) {
	// A dot segment is taken out of a path on its way: the call would be about something else.
	if checkoutID == "" || checkoutID == "." || checkoutID == ".." {
		return Result{}, fmt.Errorf("%w: %q is not an ID", ErrNotSent, checkoutID)
	}
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	leave, err := g.breaker.enter(checkoutID, c.charges())
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	end := errGatewayFailed // also of a panic: a probe that never left would keep the breaker half-open
	defer func() { leave(end) }()

	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	exchange := &exchange{gateway: g, call: c, checkoutID: checkoutID, body: body}
	result, err := exchange.run(ctx)
	switch {
	case err == nil:
		end = nil
		return result, nil
	case errors.Is(err, errRefused):
		end = nil
	case errors.Is(ctx.Err(), context.Canceled):
		end = errCallerLeft
		err = fmt.Errorf("%w: %w", context.Canceled, err)
	case ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if exchange.connected {
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
	// connected is set when any attempt got a connection. Only without one is it certain that no byte left.
	connected bool
	attempts  int
}

// run makes attempts until one is answered, one fails for good, or there is no time or attempt left. Its
// error is the last attempt's.
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
		if last != nil && g.breaker.open() {
			return Result{}, backoff.Permanent(last) // others have found the gateway failing meanwhile
		}
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

// attempt sends the request once and judges the answer.
func (e *exchange) attempt(ctx context.Context) (Result, error) {
	g := e.gateway
	e.attempts++
	request, err := e.request(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("make the request: %w", err)
	}
	response, err := g.transport.RoundTrip(request)
	if err != nil {
		return Result{}, e.failed(passing{fmt.Errorf("reach the gateway: %w", err)})
	}
	defer response.Body.Close() //nolint:errcheck // the answer is read by then, or given up
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return Result{}, e.failed(passing{fmt.Errorf("read the gateway's answer, a %d: %w", response.StatusCode, err)})
	case len(body) > maxAnswerBytes:
		return Result{}, e.failed(fmt.Errorf("the gateway answered %d with more than %d bytes", response.StatusCode, maxAnswerBytes))
	}
	result, err := e.call.judge(response.StatusCode, body)
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

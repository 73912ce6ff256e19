package payment

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-json-experiment/json"
	"github.com/sony/gobreaker/v2"
)

// HTTPGateway calls the shop's payment service over HTTP/1.1 (docs/architecture.md, "Payment
// protocol"). An answer outside of that protocol leaves the outcome unknown.
//
// All calls are repeat-safe under the protocol: a broken connection, a 5xx and a 429 are retried
// with backoff and jitter within the timeout. A circuit breaker stops charges to a service that
// keeps failing. Redirects, cookies, compression and the environment's proxies (HTTP_PROXY) are not
// used.
type HTTPGateway struct {
	base      string        // scheme, host and escaped path, without userinfo and a trailing slash
	user      *url.Userinfo // for basic authentication; may be nil
	options   Options
	breaker   *gobreaker.CircuitBreaker[Result]
	transport http.RoundTripper // an *http.Transport, except in tests
	firstWait time.Duration     // before the second attempt, give or take half of it; tests change it
}

const (
	maxAttempts      = 3 // of one call, the first included
	firstWait        = 50 * time.Millisecond
	waitGrowth       = 3 // factor from one wait to the next
	dialTimeout      = 3 * time.Second
	handshakeTimeout = 5 * time.Second
	keepAlivePeriod  = 15 * time.Second
	idleTimeout      = 30 * time.Second // less than most servers', whose hanging up would cost an attempt
	maxHeaderBytes   = 64 << 10
)

// checkBase checks a gateway's URL. Its errors quote the host alone: the URL may hold a password.
func checkBase(parsed *url.URL) error {
	var problem string
	port, err := strconv.ParseUint(cmp.Or(parsed.Port(), "80"), 10, 16) // absent: the scheme's
	switch segments := strings.Split(parsed.Path, "/"); {
	case parsed.Opaque != "" || parsed.Hostname() == "":
		problem = "has no host"
	case err != nil || port == 0:
		problem = "has port " + parsed.Port() + ", not 1 to 65535"
	case parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "":
		problem = "has a query or a fragment"
	case slices.Contains(segments, ".") || slices.Contains(segments, ".."):
		problem = `has "." or ".." in its path`
	default:
		return nil
	}
	return fmt.Errorf("payment URL with host %q %s: expected http://host/base or https://…", parsed.Host, problem)
}

func newHTTPGateway(base *url.URL, options Options) *HTTPGateway {
	visible := url.URL{Scheme: base.Scheme, Host: base.Host, Path: base.Path, RawPath: base.RawPath}
	name := strings.TrimRight(visible.String(), "/")
	// HTTP/2 would put thousands of payments on one connection: one lost packet delays all of them,
	// and the server's stream limit replaces ours.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &HTTPGateway{
		base:      name,
		user:      base.User,
		options:   options,
		breaker:   newBreaker(name, options),
		firstWait: firstWait,
		transport: &http.Transport{
			Proxy:                  nil,
			DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlivePeriod}).DialContext,
			Protocols:              protocols,
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
}

// Charge implements [Gateway]. While the circuit breaker is open it answers [ErrNotSent], which is
// [ErrUnavailable] too.
func (g *HTTPGateway) Charge(ctx context.Context, order Order) (Result, error) {
	body, err := json.Marshal(order)
	if err != nil {
		return Result{}, fmt.Errorf("charge %s: %w: encode the order: %w", order.CheckoutID, ErrNotSent, err)
	}
	return g.do(ctx, &exchange{call: &charge, checkoutID: order.CheckoutID, body: body})
}

// Void implements [Gateway]. The circuit breaker does not apply to it.
func (g *HTTPGateway) Void(ctx context.Context, checkoutID string) (Result, error) {
	return g.do(ctx, &exchange{call: &void, checkoutID: checkoutID})
}

// Refund implements [Gateway]. The circuit breaker does not apply to it.
func (g *HTTPGateway) Refund(ctx context.Context, checkoutID string) (Result, error) {
	return g.do(ctx, &exchange{call: &refund, checkoutID: checkoutID})
}

// Lookup implements [Gateway]. The circuit breaker does not apply to it.
func (g *HTTPGateway) Lookup(ctx context.Context, checkoutID string) (Payment, error) {
	e := &exchange{call: &lookup, checkoutID: checkoutID}
	if _, err := g.do(ctx, e); err != nil {
		return Payment{}, err
	}
	var found Payment
	if err := json.Unmarshal(e.answer, &found); err != nil {
		return Payment{}, fmt.Errorf("lookup %s: %w: its answer begins %.*q: %w",
			checkoutID, ErrNoLookup, maxQuotedBytes, e.answer, err)
	}
	return found, nil
}

// String implements [Gateway].
func (g *HTTPGateway) String() string { return g.base }

// Close implements [Gateway].
func (g *HTTPGateway) Close() { (&http.Client{Transport: g.transport}).CloseIdleConnections() }

// exchange is one call and its attempts. It belongs to the caller's goroutine.
type exchange struct {
	call       *call
	checkoutID string
	body       []byte
	answer     []byte // the body of the last answer
	// connected is set when any attempt got a connection. Only without one is it certain that no
	// byte left.
	connected bool
}

// do makes one call, a charge through the circuit breaker.
func (g *HTTPGateway) do(ctx context.Context, e *exchange) (Result, error) {
	return g.options.Observe.measure(e.call.name, func() (result Result, err error) {
		if e.call == &charge {
			result, err = g.breaker.Execute(func() (Result, error) { return g.send(ctx, e) })
			if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
				err = fmt.Errorf("%w: %w: %w", ErrNotSent, ErrUnavailable, err)
			}
		} else {
			result, err = g.send(ctx, e)
		}
		if err != nil {
			err = fmt.Errorf("%s %s: %w", e.call.name, e.checkoutID, err)
		}
		return result, err
	})
}

// send makes attempts until one is answered, one fails for good, or there is no time or attempt
// left.
func (g *HTTPGateway) send(ctx context.Context, e *exchange) (Result, error) {
	// Proxies remove dot segments from a path: the call would be about another payment.
	if e.checkoutID == "" || e.checkoutID == "." || e.checkoutID == ".." {
		return Result{}, fmt.Errorf("%w: %q is not an ID", ErrNotSent, e.checkoutID)
	}
	ctx, cancel := context.WithTimeout(ctx, g.options.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()

	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.Multiplier = g.firstWait, waitGrowth
	var last error // Retry may answer with the context's error, which says less
	result, err := backoff.Retry(ctx, func() (result Result, _ error) {
		result, last = g.attempt(ctx, e)
		return result, last
	},
		backoff.WithBackOff(waits),
		backoff.WithMaxTries(maxAttempts),
		// A wait that would outlast the call's time is not begun: how the call ends is known now.
		backoff.WithMaxElapsedTime(max(time.Until(deadline), 1)),
		backoff.WithNotify(func(err error, next time.Duration) {
			g.options.Log.Debug("payment call is retried",
				"call", e.call.name, "checkout", e.checkoutID, "retry_in", next.String(), "error", err)
			if g.options.Observe.Retried != nil {
				g.options.Observe.Retried(e.call.name)
			}
		}))
	if err == nil {
		return result, nil
	}
	if ctx.Err() != nil {
		last = fmt.Errorf("%w: %w", ctx.Err(), last)
	}
	if e.connected {
		return Result{}, fmt.Errorf("outcome unknown: %w", last)
	}
	return Result{}, fmt.Errorf("%w: %w", ErrNotSent, last)
}

// attempt sends the request once and parses the answer. Its error is permanent unless a repeat may
// be answered otherwise.
func (g *HTTPGateway) attempt(ctx context.Context, e *exchange) (Result, error) {
	request, err := g.request(ctx, e)
	if err != nil {
		return Result{}, backoff.Permanent(fmt.Errorf("make the request: %w", err))
	}
	response, err := g.transport.RoundTrip(request)
	if err != nil {
		return Result{}, fmt.Errorf("reach the payment service: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // the answer is read by then, or given up
	code := response.StatusCode
	e.answer, err = io.ReadAll(io.LimitReader(response.Body, e.call.maxBytes+1))
	if err != nil {
		return Result{}, fmt.Errorf("read the payment service's answer, a %d: %w", code, err)
	}
	if int64(len(e.answer)) > e.call.maxBytes {
		err = fmt.Errorf("the payment service answered %d with more than %d bytes", code, e.call.maxBytes)
		return Result{}, backoff.Permanent(err)
	}
	result, err := e.call.parse(code, e.answer)
	if err != nil && code < http.StatusInternalServerError && code != http.StatusTooManyRequests {
		err = backoff.Permanent(err)
	}
	return result, err
}

func (g *HTTPGateway) request(ctx context.Context, e *exchange) (*http.Request, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { e.connected = true },
	})
	target := g.base + "/payments/" + url.PathEscape(e.checkoutID) + e.call.suffix
	request, err := http.NewRequestWithContext(ctx, e.call.method, target, bytes.NewReader(e.body))
	if err != nil {
		return nil, err
	}
	if e.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "cartwheel")
	trace := TraceOf(ctx)
	if trace.RequestID != "" {
		request.Header.Set("X-Request-ID", trace.RequestID)
	}
	if trace.Traceparent != "" {
		request.Header.Set("Traceparent", trace.Traceparent)
	}
	if g.user != nil {
		password, _ := g.user.Password()
		request.SetBasicAuth(g.user.Username(), password)
	}
	if g.options.Secret != "" {
		signature := sign(g.options.Secret, time.Now(), e.call.method, request.URL.EscapedPath(), e.body)
		request.Header.Set(signatureHeader, signature)
	}
	return request, nil
}

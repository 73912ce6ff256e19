package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/semaphore"

	"cartwheel/app/admin/metrics"
	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/inventory"
)

// Timeouts and limits of a connection.
const (
	// headTimeout is the maximum time for the head of a request to arrive.
	headTimeout = 5 * time.Second
	// DefaultIdleTimeout is how long a connection stays open between requests. It exceeds the usual
	// keep-alive of load balancers (Traefik 90 s, Caddy 120 s): they must close first, or they send
	// into a closed connection.
	DefaultIdleTimeout = 150 * time.Second
	// readyTimeout is the maximum time of a readiness probe.
	readyTimeout = 2 * time.Second
	// writeTimeout is the maximum time for the caller to read the answer.
	writeTimeout = 5 * time.Second
	// maxHeaderBytes is the maximum size of a request's head.
	maxHeaderBytes = 16 << 10
)

// A Shop is what the routes call.
type Shop struct {
	Carts     carts
	Checkouts checkouts
	Stock     stock
}

// carts is the Cart Manager, as the API sees it.
type carts interface {
	AddToCart(context.Context, cart.LineChange) error
	UpdateCart(context.Context, cart.LineChange) error
	EmptyCart(ctx context.Context, clientID, key string) error
	MergeCarts(ctx context.Context, fromClientID, toClientID, key string) error
	CheckOut(context.Context, cart.Purchase) (checkoutID string, err error)
	Show(ctx context.Context, clientID string) (cart.View, error)
}

// checkouts is the Checkout Manager, as the API sees it.
type checkouts interface {
	Show(ctx context.Context, checkoutID string) (checkout.Entry, error)
	Cancel(ctx context.Context, checkoutID string) error
	OfClient(ctx context.Context, clientID, before string, limit int) ([]checkout.Entry, error)
}

// stock is the Inventory Manager, as the API sees it.
type stock interface {
	Lookup(ctx context.Context, productIDs []string) ([]inventory.Product, error)
}

// Config has the settings of the public listener.
type Config struct {
	RequestTimeout time.Duration // maximum time of a request, from the end of its head
	IdleTimeout    time.Duration // between requests; 0: DefaultIdleTimeout
	RateLimit      float64       // requests a second and client address; 0: no limit
	TrustedProxies []*net.IPNet  // whose X-Forwarded-For is believed
	APIKeys        []string      // none: open to all
	// Certificate returns the certificate for a connection of ServeTLS. Serve does not call it.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	CORSOrigins allowedOrigins        // none: no browser page of another origin
	Admissions  map[string]*Admission // by path; nil: requests do not wait for room
	Metrics     *metrics.Metrics
	Log         *slog.Logger
}

// A Server is the public API over HTTP.
type Server struct {
	*http.Server

	config       Config
	shop         Shop
	ready        func(context.Context) error
	largeBodies  chan struct{}       // has a token for each large body that is being read
	largeAnswers *semaphore.Weighted // bytes

	echo    *echo.Echo
	methods map[string][]string // what each route allows
	handle  echo.HandlerFunc    // all that every request passes, routes included: composed once
}

// New returns the public listener's HTTP server. Its Serve takes a listener of LimitConnections.
// ready returns why this instance should not receive requests, or nil. The reason is public: it has
// no internal detail.
func New(config Config, shop Shop, ready func(context.Context) error) *Server {
	s := &Server{
		config:       config,
		shop:         shop,
		ready:        ready,
		largeBodies:  make(chan struct{}, maxLargeBodies),
		largeAnswers: semaphore.NewWeighted(maxLargeAnswerBytes),
		echo:         echo.New(),
		methods:      make(map[string][]string),
	}
	s.echo.IPExtractor = addressOf(config.TrustedProxies)
	s.echo.HTTPErrorHandler = func(err error, c echo.Context) { s.fail(c, err) }
	s.addRoutes(newAPIKeys(config.APIKeys))

	// A request passes these from the last to the first. Echo's own Use would build this chain anew
	// for every request.
	s.handle = s.shedLoad(s.dispatch)
	s.handle = newRateLimits(config.RateLimit).limitRate(s.handle)
	s.handle = config.CORSOrigins.withCORS(s.handle)
	s.handle = recoverPanics(s.handle)
	s.handle = withRequestID(s.handle)
	s.Server = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       bodyTime,
		WriteTimeout:      bodyTime + config.RequestTimeout + writeTimeout, // counts from the end of the head
		IdleTimeout:       cmp.Or(config.IdleTimeout, DefaultIdleTimeout),
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(config.Log.Handler(), slog.LevelWarn),

		// What bounds connections bounds requests, too: HTTP/2 would carry hundreds in one.
		Protocols: new(http.Protocols),
		TLSConfig: &tls.Config{GetCertificate: config.Certificate, MinVersion: tls.VersionTLS12},

		// net/http would answer "OPTIONS *" with an empty body.
		DisableGeneralOptionsHandler: true,
	}
	s.Protocols.SetHTTP1(true)
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.echo.AcquireContext()
	defer s.echo.ReleaseContext(c)
	c.Reset(r, w)
	defer s.measure(c, time.Now()) // also where the answer is cut off
	if err := s.handle(c); err != nil {
		s.fail(c, err)
	}
}

// measure times a request by its route, or by its path where it was refused before it was routed.
func (s *Server) measure(c echo.Context, began time.Time) {
	route := strings.TrimSuffix(cmp.Or(c.Path(), c.Request().URL.Path), "/*")
	s.config.Metrics.Answered(route, c.Response().Status, time.Since(began))
}

// add registers a route. Echo's own 404, 405 and OPTIONS are never reached: see dispatch.
func (s *Server) add(path string, handler echo.HandlerFunc, methods ...string) {
	for _, method := range methods {
		s.echo.Add(method, path, handler)
	}
	if len(s.config.CORSOrigins) > 0 {
		methods = append(methods, http.MethodOptions)
	}
	s.methods[path] = methods
}

// dispatch finds the request's route and runs it.
func (s *Server) dispatch(c echo.Context) error {
	r := c.Request()
	s.echo.Router().Find(r.Method, echo.GetPath(r), c)
	methods, known := s.methods[c.Path()]
	switch {
	case !known:
		return refuse(http.StatusNotFound, "no_such_route", "no such route: see %s", PathDocumentation)
	case r.Method == http.MethodOptions:
		return s.config.CORSOrigins.options(c, strings.Join(methods, ", "))
	case !slices.Contains(methods, r.Method):
		return methodNotAllowed(c, strings.Join(methods, ", "))
	}
	return c.Handler()(c)
}

func methodNotAllowed(c echo.Context, allow string) error {
	c.Response().Header().Set(echo.HeaderAllow, allow)
	return refuse(http.StatusMethodNotAllowed, "method", "method not allowed: want one of %s", allow)
}

// fail writes the answer to a request that ended with an error. That may be an idempotency.Replay
// of a success. It logs what it answers with 202 or from 500 on; modules may have logged the cause.
func (s *Server) fail(c echo.Context, err error) {
	response := c.Response()
	if response.Committed { // the caller hung up while it was being answered, or a handler broke half way
		if _, ok := err.(*panicError); ok { //nolint:errorlint // recoverPanics makes it, nothing wraps it
			s.logFailure(c, http.StatusInternalServerError, err)
			panic(http.ErrAbortHandler) // cut the connection: half an answer must not look like a whole one
		}
		return
	}
	sent := ResponseTo(err)
	if errors.Is(err, context.Canceled) && callerLeft(c.Request()) {
		response.Status = statusCallerLeft // for the metrics; nobody reads the answer
		return
	}
	if sent.Status >= http.StatusInternalServerError {
		s.logFailure(c, sent.Status, err)
	}
	if sent.Status == http.StatusAccepted {
		// From here on the checkout is found in the log by its own ID, which the error names.
		s.config.Log.Info("answered Pending", "request_id", requestID(response.Header()), "error", err)
	}
	if sent.Status == http.StatusInternalServerError {
		sent.Body = render(answer{statusFailed, internal.message + ", request ID " + requestID(response.Header())})
	}
	if sent.Code != "" {
		response.Header()[headerError] = []string{sent.Code}
	}
	if retryAfter := failureOf(err).retryAfter; retryAfter > 0 {
		response.Header().Set(echo.HeaderRetryAfter, strconv.Itoa(retryAfter))
	}
	if err := c.JSONBlob(sent.Status, sent.Body); err != nil {
		s.config.Log.Debug("answer not sent", "request_id", requestID(response.Header()), "error", err)
	}
}

// callerLeft reports whether the request's connection is gone. The server's own timeout does not
// count.
func callerLeft(r *http.Request) bool { return errors.Is(r.Context().Err(), context.Canceled) }

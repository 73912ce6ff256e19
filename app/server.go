package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"cartwheel/app/metrics"
	"cartwheel/cart"
	"cartwheel/checkout"
)

// What the listener allows a connection. A caller that dawdles holds a goroutine no longer than these.
const (
	headTime       = 5 * time.Second  // for the head of a request
	idleTime       = 75 * time.Second // between requests: longer than what load balancers keep idle, so that they close first
	readyTime      = 2 * time.Second  // for the answer to a probe: load balancers give up soon
	writeTime      = 5 * time.Second  // for the caller to take the answer
	maxHeaderBytes = 16 << 10
)

// A shop does what the two endpoints ask for.
type shop interface {
	AddToCart(context.Context, cart.Addition) error
	CheckOut(context.Context, cart.Purchase) error
}

// A readiness tells whether this instance should be sent requests.
type readiness interface {
	// Ready returns why not, or nil. Its text goes to whoever asks: it names what is away or full, no more.
	Ready(context.Context) error
}

// serverConfig is what the public listener can be told.
type serverConfig struct {
	RequestTimeout time.Duration          // how long a request may be worked on, from the end of its head
	RateLimit      float64                // requests a second and client address; 0: no limit
	APIKeys        []string               // none: open to all
	CORSOrigins    []string               // none: no browser page of another origin
	Full           map[string]func() bool // by path: whether a request would be refused now for want of room; nil: not known
	Metrics        *metrics.Metrics
	Log            *slog.Logger
}

// A server is the public listener's side of the shop.
type server struct {
	*http.Server

	shop      shop
	readiness readiness
	timeout   time.Duration
	origins   origins
	bodies    *bodies
	faults    *faultLog
	latencies *latencies
	shedder   *shedder
	log       *slog.Logger

	echo    *echo.Echo
	methods map[string][]string // what each route allows
	handle  echo.HandlerFunc    // all that every request passes, routes included: composed once
}

// newServer returns the public listener's HTTP server, to be given a listener: see limitConnections.
func newServer(config serverConfig, shop shop, readiness readiness) *server {
	s := &server{
		shop:      shop,
		readiness: readiness,
		timeout:   config.RequestTimeout,
		origins:   config.CORSOrigins,
		bodies:    newBodies(),
		faults:    &faultLog{log: config.Log},
		latencies: newLatencies(config.Metrics),
		log:       config.Log,
		echo:      echo.New(),
		methods:   make(map[string][]string),
	}
	s.echo.HTTPErrorHandler = func(err error, c echo.Context) { s.fail(c, err) }
	s.addRoutes(newAPIKeys(config.APIKeys))

	// Echo's own Use would build this chain anew for every request.
	ids := newRequestIDs()
	s.handle = ids.named(recovered(s.origins.shared(newRateLimits(config.RateLimit).limited(s.dispatch))))

	if config.RateLimit > 0 {
		config.Full = nil // who sends too much is to be told so
	}
	s.shedder = newShedder(config.Full, s.latencies, ids, s.faults)
	s.Server = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headTime,
		ReadTimeout:       bodyTime,
		WriteTimeout:      bodyTime + config.RequestTimeout + writeTime, // counts from the end of the head
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         s.shedder.connState,
		ErrorLog:          slog.NewLogLogger(config.Log.Handler(), slog.LevelWarn),

		// Else net/http answers "OPTIONS *" by itself, and with an empty body.
		DisableGeneralOptionsHandler: true,
	}
	return s
}

// Serve answers requests on l until the server is closed.
func (s *server) Serve(l net.Listener) error {
	defer giveHeapRoom()()
	return s.Server.Serve(s.shedder.listener(l))
}

// ServeHTTP answers one request.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.echo.AcquireContext()
	defer s.echo.ReleaseContext(c)
	c.Reset(r, w)
	defer s.latencies.answered(c, time.Now()) // also where the answer is cut off
	if err := s.handle(c); err != nil {
		s.fail(c, err)
	}
}

// add registers a route. Echo's own 404, 405 and OPTIONS are never reached: see dispatch.
func (s *server) add(path string, handler echo.HandlerFunc, methods ...string) {
	for _, method := range methods {
		s.echo.Add(method, path, handler)
	}
	if len(s.origins) > 0 {
		methods = append(methods, http.MethodOptions)
	}
	s.methods[path] = methods
}

// dispatch finds the request's route and runs it.
func (s *server) dispatch(c echo.Context) error {
	r := c.Request()
	s.echo.Router().Find(r.Method, echo.GetPath(r), c)
	methods, known := s.methods[c.Path()]
	switch {
	case !known:
		return refuse(http.StatusNotFound, "no such route: see %s", pathDocumentation)
	case r.Method == http.MethodOptions:
		return s.origins.options(c, strings.Join(methods, ", "))
	case !slices.Contains(methods, r.Method):
		return methodNotAllowed(c, strings.Join(methods, ", "))
	}
	return c.Handler()(c)
}

func methodNotAllowed(c echo.Context, allow string) error {
	c.Response().Header().Set(echo.HeaderAllow, allow)
	return refuse(http.StatusMethodNotAllowed, "method not allowed: want one of %s", allow)
}

// fail answers a request that did not succeed. All errors come through here, and are logged nowhere else.
func (s *server) fail(c echo.Context, err error) {
	response := c.Response()
	if response.Committed { // the caller hung up while it was being answered, or a handler broke half way
		if _, ok := err.(*panicError); ok { //nolint:errorlint // recovered makes it, nothing wraps it
			s.faults.write(c, http.StatusInternalServerError, err)
			panic(http.ErrAbortHandler) // cut the connection: half an answer must not look like a whole one
		}
		return
	}
	v := verdictOf(err)
	if v.code >= http.StatusInternalServerError {
		s.faults.write(c, v.code, err)
	}
	if pending, ok := errors.AsType[*checkout.PendingError](err); ok {
		// From here on the checkout is found in the log by its own ID.
		s.log.Info("answered Pending", "requestID", requestID(response.Header()), "checkout", pending.CheckoutID)
	}
	if v.code == http.StatusInternalServerError {
		v.body = answer{statusFailed, wordsInternal + ", request ID " + requestID(response.Header())}.body()
	}
	if v.retryAfter > 0 {
		response.Header().Set(echo.HeaderRetryAfter, strconv.Itoa(v.retryAfter))
	}
	if err := c.JSONBlob(v.code, v.body); err != nil {
		s.log.Debug("answer not sent", "requestID", requestID(response.Header()), "error", err)
	}
}

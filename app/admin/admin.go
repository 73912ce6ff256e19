// Package admin owns the listener for operators: the dashboard, the metrics and the profiles. app
// starts it.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strconv"
	"strings"
	"time"

	"cartwheel/app/admin/dashboard"
	"cartwheel/app/admin/metrics"
)

const (
	pathPprof = "/debug/pprof/"

	// maxProfiles is the maximum number of profiles at once.
	maxProfiles = 2
	// maxProfileSeconds is the maximum time of a profile in seconds.
	maxProfileSeconds = 60

	// closeTimeout is the maximum time for the last answers at shutdown.
	closeTimeout = time.Second
)

// Timeouts and limits of a connection.
const (
	headTimeout    = 5 * time.Second
	idleTimeout    = 150 * time.Second
	maxHeaderBytes = 16 << 10
)

// A Server answers operators.
type Server struct {
	http      *http.Server
	listener  net.Listener
	dashboard *dashboard.Dashboard
	served    chan error // has one value: what Serve returned
}

// New returns a server for listener. It answers nothing before Start. With a token, each request
// must send it; without one the listener must be on loopback.
func New(
	listener net.Listener, token string, m *metrics.Metrics, board *dashboard.Dashboard, log *slog.Logger,
) *Server {
	handler := adminRoutes(m, board)
	if token != "" {
		handler = requireToken(token, handler)
	}
	if IsLoopback(listener.Addr()) {
		handler = sameMachine(handler)
	}
	return &Server{
		listener: listener, dashboard: board, served: make(chan error, 1),
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: headTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
			// No ReadTimeout and no WriteTimeout: profiles take long.
		},
	}
}

// Start answers requests in the background. It does not block.
func (a *Server) Start(context.Context) error {
	a.dashboard.Start()
	go func() { a.served <- a.http.Serve(a.listener) }()
	return nil
}

// Close cuts profiles off after closeTimeout.
func (a *Server) Close(ctx context.Context) error {
	a.dashboard.Close()
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	err := a.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) { // a profile under way
		err = a.http.Close()
	}
	if served := <-a.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// adminRoutes are the routes of the admin listener.
func adminRoutes(m *metrics.Metrics, board *dashboard.Dashboard) http.Handler {
	routes := http.NewServeMux()
	routes.Handle("/", board.Handler())
	routes.Handle("GET /metrics", m.Handler())
	profiles := http.NewServeMux()
	profiles.HandleFunc("GET "+pathPprof, pprof.Index)
	profiles.HandleFunc("GET "+pathPprof+"cmdline", programName)
	profiles.HandleFunc("GET "+pathPprof+"profile", pprof.Profile)
	profiles.HandleFunc("GET "+pathPprof+"trace", pprof.Trace)
	profiles.HandleFunc("GET "+pathPprof+"symbol", pprof.Symbol)
	profiles.HandleFunc("POST "+pathPprof+"symbol", pprof.Symbol)
	routes.Handle(pathPprof, boundedProfiles(profiles))
	return routes
}

// boundedProfiles bounds profiles, which slow the server, in number and time. It refuses them to
// web pages of other origins.
func boundedProfiles(next http.Handler) http.Handler {
	running := make(chan struct{}, maxProfiles)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seconds, _ := strconv.ParseFloat(r.FormValue("seconds"), 64) // pprof has a default for nonsense
		site := r.Header.Get("Sec-Fetch-Site")
		switch {
		case site != "" && site != "none" && site != "same-origin":
			http.Error(w, "profiles are not for pages of other origins", http.StatusForbidden)
			return
		case seconds > maxProfileSeconds:
			http.Error(w, fmt.Sprintf("seconds: expected %d at most", maxProfileSeconds), http.StatusBadRequest)
			return
		}
		select {
		case running <- struct{}{}:
			defer func() { <-running }()
			next.ServeHTTP(w, r)
		default:
			http.Error(w, "too many profiles are taken: try again", http.StatusTooManyRequests)
		}
	})
}

// programName replaces the handler of net/http/pprof that shows the command line, which may hold
// passwords.
func programName(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, os.Args[0])
}

// sameMachine refuses requests for host names other than localhost: DNS rebinding lets a web page
// point a name of its own at the loopback address, and read with the operator's browser.
func sameMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if net.ParseIP(host) == nil && host != "localhost" {
			http.Error(w, "this listener is for this machine alone: ask for localhost or 127.0.0.1",
				http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// IsLoopback reports whether only this machine can reach a listener on addr.
func IsLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// requireToken refuses requests without the token: as a bearer token, or as the password of Basic
// authentication, which browsers ask their user for.
func requireToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, sent, ok := r.BasicAuth()
		if scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
			sent, ok = value, true
		}
		got := sha256.Sum256([]byte(sent)) // of equal length, so that the comparison takes constant time
		if !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Add("WWW-Authenticate", `Bearer realm="cartwheel"`)
			w.Header().Add("WWW-Authenticate", `Basic realm="cartwheel", charset="UTF-8"`)
			http.Error(w, "the admin token is missing or wrong: send it as a bearer token or as the password",
				http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Package admin owns the listener for operators: the dashboard, the metrics and the profiles. app
// starts it.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

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

// Serve answers operators on listener until ctx ends; then it cuts profiles off after closeTimeout.
// With a token, each request must send it; without one the listener must be on loopback.
func Serve(
	ctx context.Context, listener net.Listener, token string, m *metrics.Metrics, board http.Handler, log *slog.Logger,
) error {
	handler := adminRoutes(m, board)
	if token != "" {
		handler = requireToken(token, handler)
	}
	if IsLoopback(listener.Addr()) {
		handler = sameMachine(handler)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// No ReadTimeout and no WriteTimeout: profiles take long.
	}
	closed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = server.Shutdown(grace) // it fails with a profile under way, which Close cuts off
		closed <- server.Close()
	})
	if err := server.Serve(listener); stop() { // it failed before ctx ended
		return err
	}
	return <-closed
}

// adminRoutes are the routes of the admin listener.
func adminRoutes(m *metrics.Metrics, board http.Handler) http.Handler {
	routes := http.NewServeMux()
	routes.Handle("/", board)
	routes.Handle("GET /metrics", m.Handler())
	profiles := http.NewServeMux()
	profiles.HandleFunc("GET "+pathPprof, pprof.Index) // not pprof.Cmdline: flags may have passwords
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
	running := semaphore.NewWeighted(maxProfiles)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seconds, _ := strconv.ParseFloat(r.FormValue("seconds"), 64) // pprof has a default for nonsense
		site := r.Header.Get("Sec-Fetch-Site")
		switch {
		case site != "" && site != "none" && site != "same-origin":
			http.Error(w, "profiles are not for pages of other origins", http.StatusForbidden)
		case seconds > maxProfileSeconds:
			http.Error(w, fmt.Sprintf("seconds: expected %d at most", maxProfileSeconds), http.StatusBadRequest)
		case !running.TryAcquire(1):
			http.Error(w, "too many profiles are taken: try again", http.StatusTooManyRequests)
		default:
			defer running.Release(1)
			next.ServeHTTP(w, r)
		}
	})
}

// sameMachine refuses requests for host names other than localhost: DNS rebinding lets a web page
// point a name of its own at the loopback address, and read with the operator's browser.
func sameMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := (&url.URL{Host: r.Host}).Hostname()
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

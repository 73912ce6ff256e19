package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"cartwheel/app/dashboard"
	"cartwheel/app/metrics"
)

const (
	pathMetrics = "/metrics"
	pathPprof   = "/debug/pprof/"

	// adminFarewell is how long, at the end, answers of the admin listener may take to be written. Profiles that run
	// longer are cut.
	adminFarewell = time.Second
)

// An adminServer is the listener for those who run the shop: the dashboard, the metrics and Go's profiles. It asks for
// no key, so it belongs on the loopback address or a network of its own.
type adminServer struct {
	http      *http.Server
	listener  net.Listener
	dashboard *dashboard.Dashboard
	served    chan error // one value: what Serve returned
}

// openAdmin listens and serves. close ends it.
func openAdmin(ctx context.Context, address string, m *metrics.Metrics, board *dashboard.Dashboard, log *slog.Logger) (*adminServer, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--admin-listen: %w (choose another address, stop what has this one, or turn it off with --admin-listen '')", err)
	}
	a := &adminServer{listener: listener, dashboard: board, served: make(chan error, 1)}
	private := isLoopback(listener.Addr())
	if !private {
		log.Warn("the admin listener can be reached from other machines, and asks for no key", "address", listener.Addr().String())
	}
	handler := adminRoutes(m, board)
	if private {
		handler = sameMachine(handler)
	}
	a.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// Neither ReadTimeout nor WriteTimeout: a profile takes as long as it was asked to, and the dashboard's events
		// go on. Each event has a deadline.
	}
	go func() { a.served <- a.http.Serve(listener) }()
	return a, nil
}

// url is where a browser on this machine finds the dashboard.
func (a *adminServer) url() string { return clickable(a.listener.Addr()) + "/" }

// close hangs up on whoever watches.
func (a *adminServer) close() error {
	a.dashboard.Close()
	ctx, cancel := context.WithTimeout(context.Background(), adminFarewell)
	defer cancel()
	err := a.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) { // a profile under way: nobody's loss
		err = a.http.Close()
	}
	if served := <-a.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// adminRoutes are all that the admin listener answers.
func adminRoutes(m *metrics.Metrics, board *dashboard.Dashboard) http.Handler {
	routes := http.NewServeMux()
	board.Register(routes)
	routes.Handle("GET "+pathMetrics, m.Handler())
	routes.HandleFunc("GET "+pathPprof, pprof.Index)
	routes.HandleFunc("GET "+pathPprof+"cmdline", programName)
	routes.HandleFunc("GET "+pathPprof+"profile", pprof.Profile)
	routes.HandleFunc("GET "+pathPprof+"trace", pprof.Trace)
	routes.HandleFunc("GET "+pathPprof+"symbol", pprof.Symbol)
	routes.HandleFunc("POST "+pathPprof+"symbol", pprof.Symbol)
	return routes
}

// programName stands where net/http/pprof would show the whole command line, which may hold passwords.
func programName(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, os.Args[0])
}

// sameMachine refuses requests that a name other than this machine's own led here. A page of the web could otherwise
// point a name of its own at the loopback address, and read with the browser of whoever runs the shop.
func sameMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if net.ParseIP(host) == nil && host != "localhost" {
			http.Error(w, "this listener is for this machine alone: ask for localhost or 127.0.0.1", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopback(addr net.Addr) bool {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Serve serves the public API on l with default settings over the caller's carts: the benchmark
// measures the cost of the HTTP stack so. It blocks until ctx ends, and returns nil then.
func Serve(ctx context.Context, l net.Listener, behind carts, log *slog.Logger) error {
	const requestTimeout = 15 * time.Second
	server := New(Config{RequestTimeout: requestTimeout, Log: log}, Shop{Carts: behind}, alwaysReady{})
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody waits for its answers
	defer stop()
	if err := server.Serve(LimitConnections(l, MaxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type alwaysReady struct{}

func (alwaysReady) Ready(context.Context) error { return nil }

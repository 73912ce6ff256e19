package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// ServeAlone answers the public API on l as serve does with its default settings, but puts a shop of the caller's
// behind it: what this HTTP stack costs by itself is measured so. It blocks until ctx ends, and returns nil then.
func ServeAlone(ctx context.Context, l net.Listener, behind shop, log *slog.Logger) error {
	const requestTimeout = 15 * time.Second
	server := newServer(serverConfig{RequestTimeout: requestTimeout, Log: log}, behind, alwaysReady{})
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody waits for its answers
	defer stop()
	if err := server.Serve(limitConnections(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type alwaysReady struct{}

func (alwaysReady) Ready(context.Context) error { return nil }

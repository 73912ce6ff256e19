// Command nullshop is Cartwheel's HTTP stack with nothing behind it: each request is parsed,
// checked and answered, and nobody does anything. It is the no-op baseline of the benchmark.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cartwheel/app/admin/metrics"
	"cartwheel/app/api"
	"cartwheel/cart"
	"cartwheel/checkout"
)

// nothing is a Cart Manager of which only what the benchmark sends may be called.
type nothing struct{ *cart.Manager }

func (nothing) AddToCart(context.Context, cart.LineChange) error        { return nil }
func (nothing) CheckOut(context.Context, cart.Purchase) (string, error) { return "", nil }

func (nothing) UpdateCart(context.Context, cart.LineChange) error { return nil }

func (nothing) Show(context.Context, string) (cart.View, error) {
	return cart.View{Lines: []cart.ViewLine{{ProductID: "p00000", Quantity: 1, Available: 1}}, ETag: "none"}, nil
}

// noCheckouts is a Checkout Manager of which only cancellations may be called.
type noCheckouts struct{ *checkout.Manager }

func (noCheckouts) Cancel(context.Context, string) error { return nil }

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where the API listens")
	flag.Parse()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := run(*listen, log); err != nil {
		log.Error("nullshop", "error", err)
		os.Exit(1)
	}
}

func run(listen string, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	log.Info("listening", "api", "http://"+listener.Addr().String())
	return serve(ctx, listener, log)
}

// requestTimeout is the maximum time of a request, as Cartwheel has it by default.
const requestTimeout = 15 * time.Second

// serve blocks until ctx ends, and returns nil then.
func serve(ctx context.Context, l net.Listener, log *slog.Logger) error {
	server := api.New(api.Config{RequestTimeout: requestTimeout, Metrics: metrics.New(""), Log: log}, api.Shop{Carts: nothing{}, Checkouts: noCheckouts{}}, alwaysReady)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody waits for its answers
	defer stop()
	err := server.Serve(api.LimitConnections(l, api.MaxConnections))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func alwaysReady(context.Context) error { return nil }

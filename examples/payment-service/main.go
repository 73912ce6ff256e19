// Command payment-service serves the reference payment service. PAYMENT_URL=http://127.0.0.1:5005
// names it while there is no real one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"cartwheel/payment/reference"
)

const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 2 * time.Minute // longer than Cartwheel keeps an idle connection
	drainTimeout      = 10 * time.Second
)

type settings struct {
	Listen string `default:"127.0.0.1:5005" help:"Address to listen on."`
	File   string `default:"./payments.log" help:"File that remembers the payments." type:"path"`
	Secret string `env:"PAYMENT_SECRET"     help:"Cartwheel's PAYMENT_SECRET; empty: signatures are not checked."`
}

func main() {
	var s settings
	kong.Parse(&s,
		kong.Name("payment-service"),
		kong.Description("A payment service without money, for Cartwheel's PAYMENT_URL. "+
			"It declines charges of clients whose ID begins with decline-, "+
			"and refuses refunds of clients whose ID begins with norefund-."))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "payment-service:", err)
		os.Exit(1) //nolint:gocritic // nothing is left for stop to undo
	}
}

// run serves until ctx ends, and lets the requests under way finish.
func run(ctx context.Context, s settings, output io.Writer) error {
	log := slog.New(slog.NewTextHandler(output, nil))
	service, err := reference.Open(s.File, reference.Options{Secret: s.Secret, Log: log})
	if err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return errors.Join(err, service.Close())
	}
	log.Info("payment service is ready", "url", "http://"+listener.Addr().String(), "file", s.File,
		"payments", len(service.Payments()), "signed", s.Secret != "")

	server := &http.Server{
		Handler: service, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
		return errors.Join(err, service.Close())
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err = server.Shutdown(drain)
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return errors.Join(err, service.Close())
}

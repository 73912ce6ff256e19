package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"cartwheel/app/metrics"
	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/migrations"
	"cartwheel/payment"
	"cartwheel/queue"
)

// answerGrace is how long, after the drain, the last answers may take to be written.
const answerGrace = 3 * time.Second

type serveCommand struct {
	storage
	settings

	Demo bool `help:"Fill an empty catalogue with a few products."`
}

// Run serves until SIGINT or SIGTERM; a second one ends the process at once.
func (c *serveCommand) Run(ctx context.Context, console Console) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := newLog(c.LogFormat, console.Err)
	shop, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- shop.serve() }()
	if c.Demo && isTerminal(console.Err) {
		fmt.Fprint(console.Err, firstSteps(clickable(shop.listener.Addr())))
	}
	select {
	case err = <-failed:
		log.Error("the listener failed", "error", err)
	case <-ctx.Done():
		stop() // a second signal is not caught
		log.Info("shutting down: finishing what is under way", "at_most", c.DrainTimeout)
	}
	return errors.Join(err, shop.close())
}

// A running is the whole server, in the order in which its parts depend on each other.
type running struct {
	settings settings
	log      *slog.Logger

	metrics   *metrics.Metrics
	db        *database.DB
	gateway   payment.Gateway
	stock     *inventory.Manager
	checkouts *checkout.Manager
	carts     *cart.Manager
	admin     *adminServer // nil where it is off
	server    *server
	listener  *connectionLimit

	auditor    checkout.Auditor
	draining   atomic.Bool
	background context.CancelFunc
	tasks      *errgroup.Group // what runs beside the requests, until background is called
}

// open starts everything but the listener's loop. Where it fails it has stopped what it had started.
func (c *serveCommand) open(ctx context.Context, log *slog.Logger) (r *running, err error) {
	r = &running{settings: c.settings, log: log, metrics: metrics.New(build())}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.gateway, err = payment.Open(c.PaymentURL, payment.Options{
		Timeout: c.PaymentTimeout, Secret: c.PaymentSecret, MaxInFlight: c.CheckoutsInFlight, Log: log,
		Observe: r.metrics.Payments(),
	}); err != nil {
		return r, fmt.Errorf("--payment-url (PAYMENT_URL): %w", err)
	}
	log.Info("payments go to", "gateway", r.gateway.String())
	if r.db, err = c.storage.open(ctx, log, database.Config{Serve: true, Observe: r.metrics.Transactions()}); err != nil {
		return r, err
	}
	log.Info("stock and carts are in", "engine", r.db.Engine())
	if _, err := migrations.Up(ctx, r.db, log); err != nil {
		return r, fmt.Errorf("bring the tables up to date: %w", err)
	}
	r.stock = inventory.New(r.db)
	if c.Demo {
		if err := fillEmptyCatalogue(ctx, r.db, log); err != nil {
			return r, err
		}
	}
	lines := &cart.Lines{}
	limiter := queue.NewLimiter(r.db.Dialect().Parallel())
	r.checkouts = checkout.New(r.db, lines, r.stock, r.gateway, checkout.Config{
		QueueCapacity:   c.QueueCapacity,
		Limiter:         limiter,
		BatchSize:       c.BatchSize,
		InFlight:        c.CheckoutsInFlight,
		Lease:           c.CheckoutLease,
		PaymentTimeout:  c.PaymentTimeout,
		Present:         present,
		Log:             log,
		ObserveReserve:  r.metrics.Queue("checkout.reserve"),
		ObserveSettle:   r.metrics.Queue("checkout.settle"),
		ObserveRecovery: r.metrics.Recovered,
	})
	r.carts = cart.NewManager(r.db, lines, r.stock, r.checkouts, cart.Config{
		QueueCapacity: c.QueueCapacity,
		Limiter:       limiter,
		BatchSize:     c.BatchSize,
		Present:       present,
		Log:           log,
		Observe:       r.metrics.Queue("cart.add"),
	})
	if err := r.checkouts.Start(ctx); err != nil {
		return r, fmt.Errorf("start recovery: %w", err)
	}
	r.startTasks()

	r.server = newServer(serverConfig{
		RequestTimeout: c.RequestTimeout,
		RateLimit:      c.RateLimit,
		APIKeys:        c.APIKeys,
		CORSOrigins:    c.CORSOrigins,
		Full: map[string]func() bool{
			pathAddToCart:    r.carts.Full,
			pathCheckOutCart: r.checkouts.Full,
		},
		Metrics: r.metrics,
		Log:     log,
	}, r.carts, r)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return r, cannotListen("--listen (LISTEN_ADDR)", err)
	}
	r.listener = limitConnections(listener, maxConnections)
	r.metrics.Watch(r.levels)

	base := clickable(listener.Addr())
	addresses := []any{"api", base, "documentation", base + pathDocumentation}
	if c.AdminListen != "" {
		if r.admin, err = openAdmin(ctx, c.AdminListen, r.metrics, r.newDashboard(), log); err != nil {
			return r, errors.Join(err, listener.Close())
		}
		addresses = append(addresses, "dashboard", r.admin.url())
	}
	log.Info("listening", addresses...)
	return r, nil
}

func (r *running) startTasks() {
	ctx, cancel := context.WithCancel(context.Background())
	r.background = cancel
	r.tasks = &errgroup.Group{}
	r.tasks.Go(func() error {
		idempotency.Prune(ctx, r.db, r.log)
		return nil
	})
	r.tasks.Go(func() error {
		r.auditor.Run(ctx, r.db, r.log)
		return nil
	})
}

// serve answers requests until close.
func (r *running) serve() error {
	if err := r.server.Serve(r.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// close stops in the reverse of the start: readiness, listener, checkouts in flight, queues in the order of the flow,
// background tasks, gateway, database. What is under way gets the drain timeout.
func (r *running) close() error {
	r.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), r.settings.DrainTimeout)
	defer cancel()
	answered, done := context.WithTimeout(context.Background(), r.settings.DrainTimeout+answerGrace)
	defer done()

	var errs []error
	var listener errgroup.Group
	if r.server != nil {
		// Side by side with the checkouts: their callers wait on open requests.
		listener.Go(func() error {
			if err := r.server.Shutdown(answered); err != nil {
				return errors.Join(fmt.Errorf("some answers could not be written: %w", err), r.server.Close())
			}
			return nil
		})
	}
	if r.checkouts != nil {
		if left := r.checkouts.Drain(ctx); left > 0 {
			r.log.Warn("left checkouts for recovery: the drain timeout is over", "checkouts", left)
		}
	}
	errs = append(errs, listener.Wait())
	if r.carts != nil {
		errs = append(errs, r.carts.Close(answered))
	}
	if r.checkouts != nil {
		errs = append(errs, r.checkouts.Close(answered))
	}
	if r.admin != nil { // until here it shows how the rest is going
		errs = append(errs, r.admin.close())
	}
	if r.background != nil {
		r.background()
		errs = append(errs, r.tasks.Wait())
	}
	if r.gateway != nil {
		r.gateway.Close()
	}
	if r.db != nil {
		errs = append(errs, r.db.Close())
	}
	return errors.Join(errs...)
}

// Ready says why this instance should not be sent requests, or nothing.
func (r *running) Ready(ctx context.Context) error {
	if r.draining.Load() {
		return checkout.ErrDraining
	}
	for _, q := range r.queues() {
		if q.Full() {
			return fmt.Errorf("the queue %s is full", q.Name())
		}
	}
	if err := r.db.Ping(ctx); err != nil {
		return database.ErrUnavailable // why is not for whoever asks
	}
	return nil
}

// clickable is the URL under which this machine's browser finds a listener.
func clickable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

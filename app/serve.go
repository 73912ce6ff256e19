package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"cartwheel/app/admin"
	"cartwheel/app/admin/dashboard"
	"cartwheel/app/admin/metrics"
	"cartwheel/app/api"
	"cartwheel/app/commands"
	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/checkout/webhook"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/migrations"
	"cartwheel/payment"
	"cartwheel/queue"
)

const (
	// answerGrace is the maximum time for the last answers after the drain.
	answerGrace = 3 * time.Second
	// balancerGrace is how long a server that shuts down still serves load balancers. It exceeds
	// two probes of deploy/haproxy.cfg by a second.
	balancerGrace = 2 * time.Second
	// lockTimeout is the maximum time that a start waits for the data directory: a command that
	// found no server may have it.
	lockTimeout = 5 * time.Second
)

type serveCommand struct {
	commands.Storage
	settings

	Demo bool `help:"Fill an empty catalogue with a few products."`
}

// Run serves until ctx ends, and drains then.
func (c *serveCommand) Run(ctx context.Context, console commands.Console) (err error) {
	signal.Ignore(syscall.SIGPIPE) // a standard error that nobody reads ends nothing
	log, writer := newLog(c.LogFormat, console.Err)
	defer func() {
		if err != nil {
			log.Error("the server failed", "error", oneLine(err))
			err = commands.ErrReported
		}
		writer.close()
	}()
	setGarbageCollection()
	r := &running{settings: c.settings, log: log, logWriter: writer, metrics: metrics.New(commands.BuildVersion())}
	if err := r.start(ctx, c); err != nil {
		return errors.Join(err, r.close())
	}
	failed := make(chan error, 1)
	go func() { failed <- r.serve() }()
	select {
	case err = <-failed:
	case <-ctx.Done():
		log.Info("shutting down: draining", "timeout", c.DrainTimeout.String())
		r.awaitBalancers()
	}
	return errors.Join(err, r.close())
}

// A running is the running server. Each part depends on those above it.
type running struct {
	settings  settings
	log       *slog.Logger
	logWriter *asyncWriter

	metrics       *metrics.Metrics
	certificate   *certificate // nil: plain HTTP
	listener      *api.ConnectionLimit
	adminListener net.Listener // nil: off
	gateway       payment.Gateway
	sandbox       bool // the gateway is the sandbox, without --demo
	db            *database.DB
	stock         *inventory.Manager
	checkouts     *checkout.Manager
	carts         *cart.Manager
	server        *api.Server

	probe     cachedProbe
	lastProbe atomic.Int64 // of a load balancer, in Unix nanoseconds
	auditor   checkout.Auditor
	draining  atomic.Bool
	commands  *commands.Server   // nil: commands do not write through this server
	stopTasks context.CancelFunc // nil: none were started
	tasks     sync.WaitGroup     // background tasks
}

// start starts everything but the listener's loop. After an error the caller closes.
func (r *running) start(ctx context.Context, c *serveCommand) error {
	connections, paymentCalls, err := descriptorLimits(openFiles(), c.CheckoutsInFlight, r.log)
	if err != nil {
		return err
	}
	if c.TLSCert != "" {
		r.certificate = &certificate{certFile: c.TLSCert, keyFile: c.TLSKey, log: r.log}
		if _, err := r.certificate.get(nil); err != nil {
			return err
		}
	}
	// Binding comes first: a port that is in use must not leave a new or migrated database behind.
	if err := r.listen(ctx, connections); err != nil {
		return err
	}
	if r.gateway, err = payment.Open(c.PaymentURL, payment.Options{
		Timeout: c.PaymentTimeout, Secret: c.PaymentSecret, MaxInFlight: paymentCalls, Log: r.log,
		Observe: r.metrics.Payments(),
	}); err != nil {
		return fmt.Errorf("--payment-url (PAYMENT_URL): %w", err)
	}
	if _, sandbox := r.gateway.(*payment.Sandbox); sandbox && !c.Demo {
		r.sandbox = true
		r.log.Warn("no customer is charged: the payment sandbox approves checkouts; " +
			"set PAYMENT_URL, or --demo where that is meant")
	}
	if err := r.openDatabase(ctx, c); err != nil {
		return err
	}
	if err := r.startManagers(ctx); err != nil {
		return err
	}
	if err := r.startTasks(); err != nil {
		return err
	}
	if r.db.Embedded() {
		if r.commands, err = commands.Listen(ctx, r.db, r.log); err != nil {
			r.log.Warn("commands that write have to wait until this server ends", "error", err)
		}
	}
	toCarts, toCheckouts := api.NewAdmission(r.carts.Full), api.NewAdmission(r.checkouts.Full)
	r.server = api.New(api.Config{
		RequestTimeout: c.RequestTimeout,
		IdleTimeout:    c.IdleTimeout,
		RateLimit:      c.RateLimit,
		TrustedProxies: c.TrustedProxies,
		APIKeys:        c.APIKeys,
		Certificate:    r.certificate.get,
		CORSOrigins:    c.CORSOrigins,
		Admissions: map[string]*api.Admission{
			api.PathAddToCart:    toCarts,
			api.PathUpdateCart:   toCarts,
			api.PathEmptyCart:    toCarts,
			api.PathMergeCarts:   toCarts,
			api.PathCheckOutCart: toCheckouts,
		},
		Metrics: r.metrics,
		Log:     r.log,
	}, api.Shop{Carts: r.carts, Checkouts: r.checkouts, Stock: r.stock}, r.probed)

	scheme := "http"
	if r.certificate != nil {
		scheme = "https"
	}
	base := clickable(scheme, r.listener.Addr())
	addresses := []any{
		"api", base, "documentation", base + api.PathDocumentation, "engine", r.db.Engine(), "gateway", r.gateway.String(),
	}
	if r.adminListener != nil {
		addresses = append(addresses, "dashboard", clickable("http", r.adminListener.Addr())+"/")
	}
	r.log.Info("listening", addresses...)
	return nil
}

// listen binds both listeners.
func (r *running) listen(ctx context.Context, connections int) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.settings.Listen)
	if err != nil {
		return cannotListen("--listen (LISTEN_ADDR)", err)
	}
	r.listener = api.LimitConnections(listener, connections)
	if r.settings.AdminListen == "" {
		return nil
	}
	if r.adminListener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", r.settings.AdminListen); err != nil {
		return fmt.Errorf("%w; or turn it off with --admin-listen ''", cannotListen("--admin-listen (ADMIN_ADDR)", err))
	}
	if r.settings.AdminToken == "" && !admin.IsLoopback(r.adminListener.Addr()) {
		return fmt.Errorf("--admin-token (ADMIN_TOKEN) is empty: expected a token, "+
			"because other machines can reach the admin listener on %s", r.adminListener.Addr())
	}
	return nil
}

// cannotListen adds advice to an error of Listen. flag is the setting with the address.
func cannotListen(flag string, err error) error {
	advice := "expected host:port with a free port, such as :5003 or 127.0.0.1:5003"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "another program listens there: stop it, or choose another port"
	case errors.Is(err, fs.ErrPermission):
		advice = "ports below 1024 are for root: choose another one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this machine does not have that address"
	}
	return fmt.Errorf("%s: %w (%s)", flag, err, advice)
}

// openDatabase opens the engine, migrates it and fills an empty demo catalogue.
func (r *running) openDatabase(ctx context.Context, c *serveCommand) (err error) {
	how := database.Config{LockDataDir: true, LockTimeout: lockTimeout, Observe: r.metrics.Transactions()}
	if r.db, err = c.Open(ctx, r.log, how); err != nil {
		return err
	}
	if _, err := migrations.Up(ctx, r.db, r.log); err != nil {
		return fmt.Errorf("migrate the tables: %w", err)
	}
	r.stock = inventory.New(r.db)
	if c.Demo {
		return fillEmptyCatalogue(ctx, r.stock, r.log)
	}
	return nil
}

// startManagers starts the checkout and cart managers, whose queues share a limiter.
func (r *running) startManagers(ctx context.Context) error {
	cartStore := &cart.Store{}
	limiter := queue.NewLimiter(r.db.Dialect().Parallel())
	s := r.settings
	r.checkouts = checkout.New(r.db, cartStore, r.stock, r.gateway, checkout.Config{
		QueueCapacity:   s.QueueCapacity,
		Limiter:         limiter,
		BatchSize:       s.BatchSize,
		InFlight:        s.CheckoutsInFlight,
		Lease:           s.CheckoutLease,
		PaymentTimeout:  s.PaymentTimeout,
		Events:          s.WebhookURL != "",
		ResponseTo:      api.ResponseTo,
		Log:             r.log,
		ObserveReserve:  r.metrics.Queue("checkout.reserve"),
		ObserveSettle:   r.metrics.Queue("checkout.settle"),
		ObserveMove:     r.metrics.Moves(),
		ObserveSold:     r.metrics.Sold(),
		ObserveOpen:     r.metrics.OpenCheckouts(),
		ObserveRecovery: r.metrics.Recoveries(),
	})
	r.carts = cart.New(r.db, cartStore, r.stock, r.checkouts, cart.Config{
		QueueCapacity: s.QueueCapacity,
		Limiter:       limiter,
		BatchSize:     s.BatchSize,
		ResponseTo:    api.ResponseTo,
		Log:           r.log,
		Observe:       r.metrics.Queue("cart.add"),
		ObserveShow:   r.metrics.Queue("cart.show"),
	})
	r.probe.run = r.carts.CheckWritable
	r.metrics.Watch(r.levels, r.db.Metrics())
	if err := r.checkouts.Start(ctx); err != nil {
		return fmt.Errorf("start recovery: %w", err)
	}
	return nil
}

func (r *running) startTasks() error {
	ctx, cancel := context.WithCancel(context.Background())
	r.stopTasks = cancel
	r.tasks.Go(func() { idempotency.RunPruner(ctx, r.db, r.log) })
	r.tasks.Go(func() { r.auditor.Run(ctx, r.db, r.log) })
	if r.adminListener != nil {
		board := dashboard.New(r, r.metrics, dashboard.About{
			Version: commands.BuildVersion(), Engine: r.db.Engine(), Gateway: r.gateway.String(),
		})
		r.tasks.Go(func() { board.Run(ctx) })
		r.tasks.Go(func() {
			if err := admin.Serve(ctx, r.adminListener, r.settings.AdminToken, r.metrics, board.Handler(), r.log); err != nil {
				r.log.Error("the admin listener failed", "error", err)
			}
		})
	}
	if r.settings.WebhookURL == "" {
		return nil
	}
	sender, err := webhook.New(r.settings.WebhookURL, r.settings.WebhookSecret)
	if err != nil {
		return err
	}
	if !sender.Signed() {
		r.log.Warn("events are not signed: anybody can send the shop an event; set WEBHOOK_SECRET")
	}
	announcer := checkout.NewAnnouncer(r.db, sender, r.log, r.metrics.Events())
	r.tasks.Go(func() {
		defer sender.Close()
		announcer.Run(ctx)
	})
	return nil
}

// serve answers requests until close.
func (r *running) serve() error {
	serve := r.server.Serve
	if r.certificate != nil {
		serve = func(l net.Listener) error { return r.server.ServeTLS(l, "", "") }
	}
	if err := serve(r.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// close stops, in this order: readiness, listener and commands of other processes, checkouts in
// flight, queues, background tasks with the admin listener, gateway, database. Requests and
// checkouts have the drain timeout. It may be called after a start that failed.
func (r *running) close() error {
	r.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), r.settings.DrainTimeout)
	defer cancel()
	answerCtx, cancelAnswers := context.WithTimeout(context.Background(), r.settings.DrainTimeout+answerGrace)
	defer cancelAnswers()

	var errs []error
	var shutdowns errgroup.Group
	switch {
	case r.server != nil:
		// At the same time as the checkouts' drain: their callers wait on open requests.
		shutdowns.Go(func() error {
			if err := r.server.Shutdown(answerCtx); err != nil {
				return errors.Join(fmt.Errorf("some answers could not be written: %w", err), r.server.Close())
			}
			return nil
		})
	case r.listener != nil:
		errs = append(errs, r.listener.Close())
	}
	if r.commands != nil {
		shutdowns.Go(r.commands.Close)
	}
	if r.carts != nil { // the managers are made together
		if left := r.checkouts.Drain(ctx); left > 0 {
			r.log.Warn("drain timeout: checkouts are left to recovery", "checkouts", left)
		}
		errs = append(errs, shutdowns.Wait(), r.carts.Close(answerCtx), r.checkouts.Close(answerCtx))
	}
	if r.stopTasks != nil { // the admin listener shows the drain until here
		r.stopTasks()
		r.tasks.Wait()
	}
	if r.gateway != nil {
		r.gateway.Close()
	}
	if r.db != nil {
		errs = append(errs, r.db.Close())
	}
	if r.adminListener != nil {
		_ = r.adminListener.Close() // closed already, unless the start failed
	}
	return errors.Join(errs...)
}

// clickable is the URL of a listener for a browser on this machine.
func clickable(scheme string, addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String()) // a TCP address has both
	if net.ParseIP(host).IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

package events

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// parallel is the maximum number of deliveries under way in one instance.
	parallel = 32
	// pollInterval is how often the outbox is read when nothing wakes the deliverer. It bounds the delay of
	// retries and of events that another instance left.
	pollInterval = time.Second
	// ClaimLease is how long a claimed event is its instance's alone. It must exceed attemptTimeout; after
	// a crash another instance delivers the event when the lease has expired.
	ClaimLease = 2 * attemptTimeout
	// firstRetry and lastRetry bound the time to the next delivery of an event that was not acknowledged.
	firstRetry = time.Second
	lastRetry  = 10 * time.Minute
	// logInterval is the minimum time between two log lines about failed deliveries.
	logInterval = 10 * time.Second
	// storeTimeout bounds storing the results of deliveries at shutdown.
	storeTimeout = 3 * time.Second
)

// outbox is where due events are stored.
type outbox interface {
	// ClaimEvents returns up to limit events that are due, the longest due first, and makes them due again
	// after lease. Two instances never claim one event within its lease.
	ClaimEvents(ctx context.Context, limit int, lease time.Duration) ([]Event, error)
	// StoreDeliveries ends the events without a RetryIn and makes the others due again after it.
	StoreDeliveries(ctx context.Context, deliveries []Delivery) error
}

// A Delivery is the result of one attempt.
type Delivery struct {
	Event   Event
	RetryIn time.Duration // 0: acknowledged
	err     error         // why it was not
}

// Observer is told of deliveries, for metrics.
type Observer struct {
	// Delivered is called after each attempt, with the time since the state change. nil: not called.
	Delivered func(e Event, acknowledged bool, lag time.Duration)
}

// Config says where events go.
type Config struct {
	URL     string // checked by CheckURL
	Secret  []byte // of ParseSecret; nil: unsigned
	Log     *slog.Logger
	Observe Observer
}

// Deliverer delivers due events until it is closed. Its methods are safe for concurrent use.
type Deliverer struct {
	outbox  outbox
	webhook *webhook
	log     *slog.Logger
	observe Observer
	wake    chan struct{}

	stop    context.CancelFunc
	stopped sync.WaitGroup

	failures   int       // since the last log line; of the goroutine of run
	lastLogged time.Time // likewise
}

// New returns a deliverer that has not been started.
func New(outbox outbox, config Config) *Deliverer {
	return &Deliverer{
		outbox:  outbox,
		webhook: newWebhook(config.URL, config.Secret, parallel),
		log:     config.Log,
		observe: config.Observe,
		wake:    make(chan struct{}, 1),
		stop:    func() {},
	}
}

// Start begins deliveries in the background. It does not block.
func (d *Deliverer) Start(context.Context) error {
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.stopped.Go(func() { d.run(ctx) })
	return nil
}

// Wake has the outbox read soon. It never blocks.
func (d *Deliverer) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Close ends deliveries: those under way are cut off, and are due again. ctx bounds the wait. A repeat is
// harmless.
func (d *Deliverer) Close(ctx context.Context) error {
	d.stop()
	done := make(chan struct{})
	go func() {
		d.stopped.Wait()
		d.webhook.close()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the event deliverer: %w", ctx.Err())
	}
}

// run claims as many events as deliveries are free, and stores results in batches: those that arrived
// while the previous batch was being stored.
func (d *Deliverer) run(ctx context.Context) {
	results := make(chan Delivery, parallel)
	free := parallel
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	due := true // the outbox may hold due events
	for ctx.Err() == nil {
		if due && free > 0 {
			claimed := d.claim(ctx, free)
			due = len(claimed) == free
			free -= len(claimed)
			for _, e := range claimed {
				d.stopped.Go(func() { results <- d.deliver(ctx, e) })
			}
		}
		select {
		case <-ctx.Done():
		case <-poll.C:
			due = true
		case <-d.wake:
			due = true
		case first := <-results:
			free += d.store(ctx, first, results)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	for free < parallel {
		free += d.store(ctx, <-results, results)
	}
}

func (d *Deliverer) claim(ctx context.Context, limit int) []Event {
	claimed, err := d.outbox.ClaimEvents(ctx, limit, ClaimLease)
	if err != nil && ctx.Err() == nil {
		d.log.Warn("events cannot be read", "error", err)
	}
	return claimed
}

// store stores first and the results that are there already. It returns their number.
func (d *Deliverer) store(ctx context.Context, first Delivery, results <-chan Delivery) int {
	batch := []Delivery{first}
	for len(batch) < parallel {
		select {
		case next := <-results:
			batch = append(batch, next)
			continue
		default:
		}
		break
	}
	for _, delivery := range batch {
		d.logFailure(delivery)
	}
	if err := d.outbox.StoreDeliveries(ctx, batch); err != nil {
		// Their leases expire, and they are delivered again.
		d.log.Warn("results of event deliveries cannot be stored", "events", len(batch), "error", err)
	}
	return len(batch)
}

// logFailure logs at most one failed delivery in logInterval: an outage of the webhook fails all of them.
func (d *Deliverer) logFailure(delivery Delivery) {
	if delivery.err == nil {
		return
	}
	if time.Since(d.lastLogged) < logInterval {
		d.failures++
		return
	}
	d.log.Warn("event was not acknowledged", "event", delivery.Event.ID(), "retry_in", delivery.RetryIn.Round(time.Second).String(),
		"suppressed", d.failures, "error", delivery.err)
	d.failures, d.lastLogged = 0, time.Now()
}

// deliver makes one attempt.
func (d *Deliverer) deliver(ctx context.Context, e Event) Delivery {
	err := d.webhook.send(ctx, e)
	lag := max(0, time.Since(e.OccurredAt))
	if d.observe.Delivered != nil {
		d.observe.Delivered(e, err == nil, lag)
	}
	if err == nil {
		return Delivery{Event: e}
	}
	return Delivery{Event: e, RetryIn: retryIn(lag), err: err}
}

// retryIn returns the time to the next attempt of an event of that age. It grows with the age, so that
// retries back off exponentially without a stored count.
func retryIn(age time.Duration) time.Duration {
	return min(max(age/2, firstRetry), lastRetry)
}

// Package checkout is the Checkout Manager: it reserves a cart's lines, charges the customer and
// settles the outcome. It finishes the checkouts that any instance left open. It owns the table
// checkout_journal; the Cart Manager calls it.
//
// A sale has two transactions. TX 1 reserves: it removes the cart's lines and writes reservations
// and a journal row. TX 2 settles: it sells the lines or restores them, and ends the journal row.
// Between the two the payment service is asked, and no transaction is open.
//
// Both wait for locks in this order: client_cart, product_details, reserve_purchase,
// checkout_journal, idempotency_key, and within a table by key.
//
// TX 2 also begins refunds and cancellations: it moves the row to refunding or cancelling. Once the
// payment service has answered, another TX 2 ends the row.
package checkout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/payment"
	"cartwheel/queue"
)

// gateway is the payment gateway, as the Checkout Manager sees it.
type gateway interface {
	Charge(context.Context, payment.Order) (payment.Result, error)
	Void(ctx context.Context, checkoutID string) (payment.Result, error)
	Refund(ctx context.Context, checkoutID string) (payment.Result, error)
	Available() error
}

// carts are the stored carts, as the Checkout Manager sees them.
type carts interface {
	Lock(context.Context, *database.Tx, []string) (lines map[string][]inventory.Line, deferred map[string]bool, err error)
	Remove(*database.Batch, []cart.ClientLine)
	Restore(*database.Batch, []cart.ClientLine) (full func() bool)
	LockAndRestore(context.Context, *database.Batch, []cart.ClientLine) (overflow []cart.ClientLine, err error)
	RefuseLocked(context.Context, *database.Tx, []int, func(int) cart.Needs, func(int, error)) ([]int, error)
}

// stock is the Inventory Manager, as the Checkout Manager sees it.
type stock interface {
	Lock(context.Context, *database.Tx, []string) (*inventory.Stock, error)
	Reserve(*database.Batch, []inventory.Reservation)
	Sell(*database.Batch, []inventory.Reservation) error
	Release(*database.Batch, []inventory.Reservation)
	Restock(context.Context, *database.Tx, *inventory.Stock, []inventory.Line) (overflow []inventory.Line, err error)
}

// workers is the number of workers of each queue. Two would wait for each other's row locks at
// every popular product, with batches of half the size: see docs/decisions.md. TX 1 and TX 2 run
// concurrently.
const workers = 1

// MinLeaseMargin is the minimum difference between the lease and the payment timeout. An owner
// whose charge timed out needs time to settle.
const MinLeaseMargin = 2 * time.Second

// maxLineBytes bounds the lines of the checkouts in flight: 4,096 carts of 500 lines would have
// several times as much. One TX 1 may exceed it.
const maxLineBytes = 48 << 20

// Config says how the Checkout Manager works.
type Config struct {
	QueueCapacity  int            // checkouts that wait for TX 1
	BatchSize      int            // checkouts in one TX 1, lines in one TX 2
	InFlight       int            // purchases and cancellations at once; as many repeats may wait
	Lease          time.Duration  // how long no other instance may claim a checkout
	PaymentTimeout time.Duration  // the maximum time of a charge, which is then voided
	Limiter        *queue.Limiter // shared by all queues that write; nil: none
	// Events says that a webhook is configured: sales and completed cancellations get a due time
	// for their event.
	Events bool
	// ResponseTo turns an outcome into the answer that is stored with a key.
	ResponseTo func(error) idempotency.Response
	Log        *slog.Logger
	// ObserveReserve and ObserveSettle watch the queues.
	ObserveReserve, ObserveSettle queue.Observer
	// ObserveMove is told of each state that a checkout reaches after Reserved. nil: not called.
	ObserveMove func(State)
	// ObserveSold is told how many units each sale has. nil: not called.
	ObserveSold func(units int64)
	// ObserveOpen is told every few seconds of the open checkouts. nil: they are not counted.
	ObserveOpen func(OpenLevels)
	// ObserveRecovery is told the state after each attempt to finish a checkout that its owner
	// left. It is a settled one, unless the attempt failed. nil: not called.
	ObserveRecovery func(State)
}

// Manager is the Checkout Manager. Its methods are safe for concurrent use.
type Manager struct {
	db       *database.DB
	carts    carts
	stock    stock
	gateway  gateway
	config   Config
	log      *slog.Logger
	reserves *queue.Queue[reserveJob, *claim]
	settles  *queue.Queue[settleJob, journalResult]

	inFlight       atomic.Int64 // checkouts admitted and not ended; raised under mu
	lineBytes      atomic.Int64 // of their lines, once these are reserved
	waitingRepeats atomic.Int64 // repeats that wait for the end of the first request
	draining       atomic.Bool  // set under mu

	ownerCtx     context.Context // ends when owners must leave their checkouts to others
	cancelOwners context.CancelFunc
	owners       sync.WaitGroup // running purchases, cancellations and recoveries

	lockedEntries database.LockedRows // checkouts whose journal row another transaction keeps locked

	mu         sync.Mutex
	unfinished []*claim                      // under mu: claims that owners gave up because they had to
	endWaiters map[chan journalResult]string // under mu: IDs of checkouts that another owner finishes

	backgroundCtx   context.Context // of the tasks that New and Start begin
	stopBackground  context.CancelFunc
	backgroundTasks sync.WaitGroup
	recoverySlots   *semaphore.Weighted // one for each running recovery
}

// New starts the queues. Start begins recovery. Close ends everything.
func New(db *database.DB, carts carts, stock stock, gateway gateway, cfg Config) *Manager {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	m := &Manager{
		db: db, carts: carts, stock: stock, gateway: gateway, config: cfg, log: cfg.Log,
		endWaiters:    map[chan journalResult]string{},
		recoverySlots: semaphore.NewWeighted(maxRecovering),
	}
	m.ownerCtx, m.cancelOwners = context.WithCancel(context.Background())
	m.backgroundCtx, m.stopBackground = context.WithCancel(context.Background())
	m.reserves = queue.New(queue.Config[reserveJob, *claim]{
		Name:          "checkout.reserve",
		Shards:        workers,
		Capacity:      cfg.QueueCapacity,
		BatchSize:     cfg.BatchSize,
		Work:          m.reserve,
		RetryOneByOne: database.MayRetryOneByOne,
		Limiter:       cfg.Limiter,
		Log:           cfg.Log,
		Observe:       cfg.ObserveReserve,
	})
	m.settles = queue.New(queue.Config[settleJob, journalResult]{
		Name:   "checkout.settle",
		Shards: workers,
		// Room for every checkout that may be in flight: nothing is refused after TX 1.
		Capacity:      max(cfg.QueueCapacity, cfg.InFlight+maxRecovering),
		BatchSize:     cfg.BatchSize,
		Weight:        func(job settleJob) int { return len(job.claim.lines) },
		Work:          m.settle,
		RetryOneByOne: database.MayRetryOneByOne,
		Limiter:       cfg.Limiter,
		Log:           cfg.Log,
		Observe:       cfg.ObserveSettle,
	})
	m.backgroundTasks.Go(m.pollEnds)
	return m
}

// Queues returns the state of the queues, in the order of the flow.
func (m *Manager) Queues() []queue.State { return []queue.State{m.reserves, m.settles} }

// InFlight returns the number of this instance's checkouts between admission and end, and its
// limit.
func (m *Manager) InFlight() (used, limit int) { return int(m.inFlight.Load()), m.config.InFlight }

// Full reports whether a checkout that came now would be refused with ErrBusy or queue.ErrFull.
func (m *Manager) Full() bool {
	return m.inFlight.Load() >= int64(m.config.InFlight) || m.lineBytes.Load() >= maxLineBytes || m.reserves.Full()
}

// CheckOut buys the client's whole cart, or nothing.
//
// It blocks until the outcome is known or ctx ends. A checkout that has begun goes on without its
// caller, and is settled however long that takes. With a key a repeat gets the first's answer;
// without one it is a new checkout. It returns the checkout's ID, with an error too, once there is
// one.
//
// Errors, certain that nothing was done: cart.ErrEmpty, cart.ErrChanged, inventory.ErrNotEnough,
// ErrBusy, ErrDraining, payment.ErrUnavailable, queue.ErrFull, queue.ErrClosed,
// queue.ErrNotStarted, database.ErrUnavailable, database.ErrRowLocked. The cart is as it was:
// ErrDeclined, ErrUnpaid, ErrRefunded. Not known yet: ErrPending once the stock is reserved,
// queue.ErrUnanswered and database.ErrOutcomeUnknown before. Of repeats: *idempotency.Replay,
// idempotency.ErrMismatch, idempotency.ErrUnderWay. Fault: queue.ErrPanicked.
func (m *Manager) CheckOut(ctx context.Context, p cart.Purchase) (checkoutID string, err error) {
	for {
		checkoutID, err = m.checkOutOnce(ctx, p)
		if p.Key != "" && answerMayBeStored(err) {
			err = idempotency.StoredAnswerOr(ctx, m.db, requestOf(p), err)
		}
		if first, ok := errors.AsType[*idempotency.UnderWayError](err); ok {
			checkoutID, err = m.awaitFirst(ctx, p, first.CheckoutID)
		}
		if !errors.Is(err, errTryAgain) {
			return cmp.Or(checkoutID, checkoutIDOf(err)), err
		}
	}
}

// checkoutIDOf returns the ID of the checkout that a repeat's answer is about, if any.
func checkoutIDOf(err error) string {
	if replay, ok := errors.AsType[*idempotency.Replay](err); ok {
		return replay.CheckoutID
	}
	if pending, ok := errors.AsType[*PendingError](err); ok {
		return pending.CheckoutID
	}
	return ""
}

// answerMayBeStored reports whether a checkout was refused although an answer to its key may be
// stored.
func answerMayBeStored(err error) bool {
	return slices.ContainsFunc([]error{
		ErrBusy, ErrDraining, payment.ErrUnavailable, queue.ErrFull, queue.ErrClosed, queue.ErrNotStarted, database.ErrRowLocked,
	}, func(refusal error) bool { return errors.Is(err, refusal) })
}

// checkOutOnce admits a checkout and waits for its end.
func (m *Manager) checkOutOnce(ctx context.Context, p cart.Purchase) (checkoutID string, err error) {
	if m.draining.Load() {
		return "", ErrDraining
	}
	if err := m.gateway.Available(); err != nil {
		return "", err
	}
	op, err := m.begin(payment.TraceOf(ctx), func(o *operation) error { return m.buy(o, p) })
	if err != nil {
		return "", err
	}
	err = op.wait(ctx, func(id string) error { return &PendingError{CheckoutID: id} })
	if c := op.claim.Load(); c != nil {
		checkoutID = c.id
	}
	return checkoutID, err
}

// errTryAgain means that the first request's checkout is not in the journal: it was pruned, or a
// version that did not store its ID with the key began it. The key must be looked up again.
var errTryAgain = errors.New("the checkout of the first request is not known")

// awaitFirst waits for the end of the checkout that the first request with the purchase's key
// began, on whichever instance it runs, until ctx ends. It returns the answer to the purchase.
func (m *Manager) awaitFirst(ctx context.Context, p cart.Purchase, id string) (checkoutID string, err error) {
	end, err := m.awaitRepeat(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return "", errTryAgain
	case err != nil:
		err = &PendingError{CheckoutID: id}
	default:
		err = outcome(end.state, end.reason)
	}
	if errors.Is(err, ErrUnpaid) { // TX 2 deleted the key: another checkout may use it by now
		return id, err
	}
	answer := idempotency.StoredAnswerOr(ctx, m.db, requestOf(p), err)
	if errors.Is(answer, idempotency.ErrUnderWay) {
		return id, err
	}
	return id, answer
}

// UnderWay finds those of the clients who have an open checkout, of any instance, that may return
// its lines to their carts, as is committed when the batch is sent. It locks nothing.
func (m *Manager) UnderWay(b *database.Batch, clientIDs []string, found map[string]bool) {
	UnderWay(b, clientIDs, found)
}

// Show returns a checkout as the journal has it. Errors: ErrNotFound.
func (m *Manager) Show(ctx context.Context, id string) (Entry, error) { return Show(ctx, m.db, id) }

// Show returns a checkout as the journal in db has it. Errors: ErrNotFound.
func Show(ctx context.Context, db *database.DB, id string) (Entry, error) {
	found, err := database.Query(ctx, db.Read, func(tx *database.Tx) (map[string]Entry, error) {
		return entriesByID(ctx, tx, []string{id}, "")
	})
	if err != nil {
		return Entry{}, err
	}
	entry, ok := found[id]
	if !ok {
		return Entry{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return entry, nil
}

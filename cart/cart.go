// Package cart is the Cart Manager: it changes carts through its own queue, shows them, and passes
// checkouts on to the Checkout Manager. It owns the table client_cart. The API calls it.
package cart

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/queue"
)

var (
	// ErrEmpty means that there was nothing in the cart to buy.
	ErrEmpty = errors.New("the cart is empty")
	// ErrCheckoutUnderWay is an ErrEmpty whose reason may be a checkout of the client under way.
	ErrCheckoutUnderWay = fmt.Errorf("%w: a checkout of this client is under way", ErrEmpty)
	// ErrChanged means that the cart is not as the caller last saw it: If-Match did not match.
	ErrChanged = errors.New("the cart has changed")
	// ErrTooManyLines means that the cart would have more than MaxLines, or a merged line more than
	// MaxQuantity.
	ErrTooManyLines = errors.New("the cart would have too many lines, or too many units of one product")
)

// A LineChange adds units to a line of a client's cart, or sets the line.
type LineChange struct {
	ClientID, ProductID string
	Quantity            int64  // units: 1 or more to add, 0 or more to set
	Key                 string // the Idempotency-Key; empty: none
}

// A Purchase asks to check a client's cart out.
type Purchase struct {
	ClientID  string
	Key       string // the Idempotency-Key; empty: none
	Reference string // the Cartwheel-Reference; empty: none
	// IfMatch has the ETags that the cart may have, separated by commas; empty: any.
	IfMatch string
}

// checkouts is the Checkout Manager, as the Cart Manager sees it.
type checkouts interface {
	CheckOut(context.Context, Purchase) (checkoutID string, err error)
	UnderWay(b *database.Batch, clientIDs []string, found map[string]bool)
}

// stock is the Inventory Manager, as the Cart Manager sees it.
type stock interface {
	ReadLevels(*database.Batch, []string) *inventory.Stock
	Products(b *database.Batch, productIDs []string, found map[string]inventory.Product)
}

// Config says how the Cart Manager works.
type Config struct {
	QueueCapacity int            // changes that wait, and carts to show that wait
	BatchSize     int            // weight of the changes in one transaction; an add weighs 1
	Limiter       *queue.Limiter // shared with whatever else writes; nil: none
	// ResponseTo turns an outcome into the answer that is stored with a key.
	ResponseTo func(error) idempotency.Response
	Log        *slog.Logger
	// Observe and ObserveShow watch the queues of changes and of carts to show.
	Observe, ObserveShow queue.Observer
}

// Manager is the Cart Manager. Its methods are safe for concurrent use.
type Manager struct {
	db         *database.DB
	store      *Store
	stock      stock
	checkouts  checkouts
	responseTo func(error) idempotency.Response
	changes    *queue.Queue[change, struct{}]
	shows      *queue.Queue[string, View]
	merges     merges
}

// New starts the Cart Manager. Close ends it.
func New(db *database.DB, store *Store, stock stock, checkouts checkouts, cfg Config) *Manager {
	m := &Manager{db: db, store: store, stock: stock, checkouts: checkouts, responseTo: cfg.ResponseTo}
	m.merges.clients = map[string]chan struct{}{}
	m.changes = queue.New(queue.Config[change, struct{}]{
		Name:          "cart.add",
		Shards:        db.Dialect().Parallel(),
		Capacity:      cfg.QueueCapacity,
		BatchSize:     cfg.BatchSize,
		Weight:        change.weight,
		Work:          m.applyBatch,
		RetryOneByOne: database.MayRetryOneByOne,
		Limiter:       cfg.Limiter,
		Log:           cfg.Log,
		Observe:       cfg.Observe,
	})
	m.shows = queue.New(queue.Config[string, View]{
		Name: "cart.show", Shards: showWorkers, Capacity: cfg.QueueCapacity, BatchSize: maxCartsShown,
		Work: m.show, RetryOneByOne: database.MayRetryOneByOne, Log: cfg.Log, Observe: cfg.ObserveShow,
	})
	return m
}

// CheckOut buys what is in the client's cart, all of it or nothing. It blocks until the outcome is
// known or ctx ends; a purchase that has begun goes on without its caller. It returns the ID of the
// checkout, with an error too, once there is one. Its errors are the Checkout Manager's.
func (m *Manager) CheckOut(ctx context.Context, p Purchase) (checkoutID string, err error) {
	return m.checkouts.CheckOut(ctx, p)
}

// Queues returns the queues of changes and of carts to show, for their state.
func (m *Manager) Queues() (changes, shows queue.State) { return m.changes, m.shows }

// Full reports whether a change that came now would be refused because the queue is full.
func (m *Manager) Full() bool { return m.changes.Full() }

// Close refuses new changes, finishes those that were accepted, and returns; ctx bounds the wait.
func (m *Manager) Close(ctx context.Context) error {
	return errors.Join(m.changes.Close(ctx), m.shows.Close(ctx))
}

// CheckWritable reports whether an add could be written now. It writes nothing. It blocks as
// database.Transact does.
//
// Errors: database.ErrUnavailable and those of the statement.
func (m *Manager) CheckWritable(ctx context.Context) error {
	return m.db.Transact(ctx, func(tx *database.Tx) error {
		if err := probe(ctx, tx); err != nil {
			return err
		}
		return database.ErrNothingToWrite
	}, nil)
}

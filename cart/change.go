package cart

import (
	"context"
	"errors"
	"strconv"

	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/queue"
)

// A kind is what a change does to a cart. Its text is the endpoint under which its keys are stored.
type kind string

const (
	kindAdd    kind = "addToCart"
	kindUpdate kind = "updateCart"
	kindEmpty  kind = "emptyCart"
	kindMerge  kind = "mergeCarts"
	// kindBarrier changes nothing. Its answer tells that all earlier changes of its client are
	// done. It belongs to no endpoint, so it has no text.
	kindBarrier kind = ""
)

// A change is one job of the queue cart.add, which carries all kinds. Metrics have the queue's
// name.
type change struct {
	kind kind
	LineChange
	from string // of a merge: the client whose lines move to ClientID; else empty
}

// weight bounds the lines that one transaction locks: all but an add lock whole carts.
func (c change) weight() int {
	switch c.kind {
	case kindUpdate:
		return 8
	case kindEmpty, kindMerge:
		return 32
	default:
		return 1
	}
}

func (c change) request() idempotency.Request {
	if c.Key == "" {
		return idempotency.Request{}
	}
	request := idempotency.Request{Key: idempotency.Key{ClientID: c.ClientID, Endpoint: string(c.kind), Key: c.Key}}
	switch c.kind {
	case kindAdd, kindUpdate:
		request.Hash = idempotency.HashOf(c.ProductID, strconv.FormatInt(c.Quantity, 10))
	case kindMerge:
		request.Hash = idempotency.HashOf(c.from)
	default:
		request.Hash = idempotency.HashOf()
	}
	return request
}

// AddToCart adds to the client's cart and returns when the addition is durable. It reserves
// nothing.
//
// It blocks until its batch is committed or ctx ends. Without a key a repeat adds again.
//
// Errors: inventory.ErrNoProduct, inventory.ErrNotEnough when the line would exceed what is
// available now, ErrTooManyLines; *idempotency.Replay and idempotency.ErrMismatch; those of
// database.Transact; those of queue.Queue.Do.
func (m *Manager) AddToCart(ctx context.Context, c LineChange) error {
	return m.do(ctx, change{kind: kindAdd, LineChange: c})
}

// UpdateCart sets a line to c.Quantity; 0 removes it. Lowering and removing succeed whatever the
// stock is. Raising has the errors of AddToCart, and blocks as that does.
func (m *Manager) UpdateCart(ctx context.Context, c LineChange) error {
	return m.do(ctx, change{kind: kindUpdate, LineChange: c})
}

// EmptyCart removes all lines of a client's cart. It blocks and fails as AddToCart does, but for
// the errors of stock.
func (m *Manager) EmptyCart(ctx context.Context, clientID, key string) error {
	return m.do(ctx, change{kind: kindEmpty, LineChange: LineChange{ClientID: clientID, Key: key}})
}

// do has the queue make a change.
func (m *Manager) do(ctx context.Context, c change) error {
	if err := m.merges.wait(ctx, c.ClientID); err != nil {
		return m.answerAfterRefusal(ctx, c, err)
	}
	return m.submit(ctx, c)
}

// submit queues a change whose clients have no merge under way but this one.
func (m *Manager) submit(ctx context.Context, c change) error {
	_, err := m.changes.Do(ctx, c.ClientID, c)
	return m.answerAfterRefusal(ctx, c, err)
}

// answerAfterRefusal returns the answer to a change that ended with err: the one that is stored
// under its key if it was refused before the key was looked up, or because another transaction had
// a row locked, which may be storing that answer; else err.
func (m *Manager) answerAfterRefusal(ctx context.Context, c change, err error) error {
	if c.Key == "" || !answerMayBeStored(err) {
		return err
	}
	return idempotency.StoredAnswerOr(ctx, m.db, c.request(), err)
}

// answerMayBeStored reports whether the change was refused although an answer to its key may be
// stored.
func answerMayBeStored(err error) bool {
	return errors.Is(err, queue.ErrFull) || errors.Is(err, queue.ErrClosed) ||
		errors.Is(err, queue.ErrNotStarted) || errors.Is(err, database.ErrRowLocked)
}

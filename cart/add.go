package cart

import (
	"context"
	"errors"
	"time"

	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/queue"
)

// AddToCart adds to the client's cart and returns when that is durable. Nothing is held by it.
//
// It blocks until its batch is committed or ctx ends. Without a key a repeat adds again.
//
// Errors: inventory.ErrNoProduct, inventory.ErrNotEnough when the line would exceed what is available now,
// ErrTooManyLines; *idempotency.Replay and idempotency.ErrMismatch; those of database.Transact; those of
// queue.Queue.Do.
func (m *Manager) AddToCart(ctx context.Context, a Addition) error {
	_, err := m.adds.Do(ctx, a.ClientID, a)
	if err != nil && a.Key != "" && notDone(err) {
		return m.replayOr(ctx, a, err)
	}
	return err
}

// notDone reports whether the add was refused without a look at its key.
func notDone(err error) bool {
	for _, refusal := range []error{queue.ErrFull, queue.ErrClosed, queue.ErrNotStarted, database.ErrRowLocked} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// recallTimeout bounds the look for a key after the request was refused, when its own time may be over.
const recallTimeout = time.Second

// replayOr returns what is stored under the addition's key, and refusal where nothing is.
func (m *Manager) replayOr(ctx context.Context, a Addition, refusal error) error {
	request := a.request()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recallTimeout)
	defer cancel()
	record, found, err := idempotency.Find(ctx, m.db, request.Key)
	if err != nil || !found {
		return refusal
	}
	return record.Answer(request.Hash)
}

func (m *Manager) addBatch(ctx context.Context, jobs []Addition, answers []queue.Answer[struct{}]) error {
	b := &addBatch{lines: m.lines, stock: m.stock, present: m.present, jobs: jobs, answers: answers}
	err := b.transact(ctx, m.db)
	if len(jobs) == 1 && database.IsOutOfRange(err) {
		// The line would not fit its column, so it exceeds any stock. Find out by how much, writing no line.
		b.lookOnly = true
		err = b.transact(ctx, m.db)
	}
	return err
}

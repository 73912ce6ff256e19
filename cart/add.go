package cart

import (
	"context"
	"errors"
	"time"

	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/queue"
)

// AddToCart adds to the client's cart and returns when the addition is durable. It reserves
// nothing.
//
// It blocks until its batch is committed or ctx ends. Without a key a repeat adds again.
//
// Errors: inventory.ErrNoProduct, inventory.ErrNotEnough when the line would exceed what is
// available now, ErrTooManyLines; *idempotency.Replay and idempotency.ErrMismatch; those of
// database.Transact; those of queue.Queue.Do.
func (m *Manager) AddToCart(ctx context.Context, a Addition) error {
	_, err := m.adds.Do(ctx, a.ClientID, a)
	if err != nil && a.Key != "" && keyNotRead(err) {
		return m.replayOr(ctx, a, err)
	}
	return err
}

// keyNotRead reports whether the add was refused before its key was looked up.
func keyNotRead(err error) bool {
	for _, refusal := range []error{queue.ErrFull, queue.ErrClosed, queue.ErrNotStarted, database.ErrRowLocked} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// keyTimeout is the maximum time for the look-up of a refused request's key. The request's own time
// may be over.
const keyTimeout = time.Second

// replayOr returns the answer stored under the addition's key, or refusal when there is none.
func (m *Manager) replayOr(ctx context.Context, a Addition, refusal error) error {
	request := a.request()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTimeout)
	defer cancel()
	record, found, err := idempotency.Find(ctx, m.db, request.Key)
	if err != nil || !found {
		return refusal
	}
	return record.Answer(request.Hash)
}

// addBatch writes a batch of adds in one transaction.
func (m *Manager) addBatch(ctx context.Context, jobs []Addition, answers []queue.Answer[struct{}]) error {
	requests := make([]idempotency.Request, len(jobs))
	for i, job := range jobs {
		requests[i] = job.request()
	}
	b := &addBatch{
		lines: m.lines, stock: m.stock, present: m.present,
		jobs: jobs, answers: answers, keys: idempotency.NewBatch(requests),
	}
	err := m.db.Transact(ctx,
		func(tx *database.Tx) error { return b.run(ctx, tx) },
		func(tx *database.Tx) (bool, error) { return b.committed(ctx, tx) })
	if err != nil && !errors.Is(err, errNothingToWrite) {
		return err
	}
	b.keys.Repeats(func(repeat, first int, err error) {
		if err == nil {
			err = answers[first].Err
		}
		answers[repeat].Err = err
	})
	return nil
}

package queue

import (
	"context"
	"fmt"
)

// Close refuses new jobs, runs every accepted job, and waits for the workers.
//
// When ctx ends first it returns ctx's error: Work's context is cancelled and waiting jobs are
// answered ErrClosed. Batches under way end when Work returns; another Close waits for them.
//
// Repeated and concurrent calls are safe; the first context to end decides.
func (q *Queue[J, R]) Close(ctx context.Context) error {
	q.refuse()
	select {
	case <-q.drained:
		return nil
	case <-ctx.Done():
	}
	if q.alive.Load() == 0 { // both channels were ready
		return nil
	}
	q.stop()
	return fmt.Errorf("%s: close: %w", q.config.Name, ctx.Err())
}

// refuse closes the shards' channels, once. Callers send under the same lock: none sends on a
// closed channel.
func (q *Queue[J, R]) refuse() {
	q.sending.Lock()
	defer q.sending.Unlock()
	if q.closing {
		return
	}
	q.closing = true
	for _, w := range q.workers {
		close(w.waiting)
	}
}

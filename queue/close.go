package queue

import (
	"context"
	"fmt"
)

// Close refuses new jobs, lets the workers finish every job that was accepted, and waits for them.
//
// It returns an error, ctx's, when ctx ends first. Then Work's context is cancelled and jobs that no
// worker has taken are answered ErrClosed; batches under way end when Work returns, and Close does not
// wait for that, but another Close does. Once all has ended Close returns nil.
//
// It may be called any number of times, at once too; the first context to end is the one that counts.
func (q *Queue[J, R]) Close(ctx context.Context) error {
	q.refuse()
	select {
	case <-q.drained:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-q.drained: // both at once: nothing was cut short
		return nil
	default:
	}
	q.stop()
	return fmt.Errorf("%s: close: %w", q.config.Name, ctx.Err())
}

// refuse closes the shards, once. Callers send under the same lock, so none sends on a closed channel.
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

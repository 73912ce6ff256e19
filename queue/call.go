package queue

import (
	"sync/atomic"
	"time"
)

// call is one job in the queue.
type call[J, R any] struct {
	// taken is set once: by the worker that dequeues the job, or by a caller who leaves before
	// that. A job whose caller has left is never run.
	taken  atomic.Bool
	job    J
	weight int
	since  time.Time      // when it was accepted
	done   chan Answer[R] // has one place: the worker never waits for the caller
}

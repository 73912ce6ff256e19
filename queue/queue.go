// Package queue owns the bounded, batching queues between a module's manager and its store. A
// caller submits one job and waits for its answer. A worker runs the jobs that arrived during its
// previous batch as the next one.
//
// Without a Limiter there is no timer: an idle worker starts a job at once, and a busy one batches.
// With one, a worker may first wait for a slot, at most limiterTimeout.
package queue

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what a queue does, and its limits.
type Config[J, R any] struct {
	// Name is for errors and logs: "cart.add".
	Name string

	// Shards is the number of workers, 1 or more. Jobs with one shardKey go to one, in order.
	Shards int

	// Capacity is the most jobs that wait, over all shards, 1 or more. Batches under way do not
	// count.
	Capacity int

	// BatchSize is the most weight in one batch, 1 or more. A job that is heavier makes a batch of
	// its own.
	BatchSize int

	// Weight weighs a job; less than 1 counts as 1. Nil: every job weighs 1. It runs in the
	// caller's goroutine.
	Weight func(J) int

	// Work runs a batch: it sets answers[i] for jobs[i]. An answer that it does not set is a zero
	// Value and no error. When it returns an error, its answers are discarded and RetryOneByOne
	// decides. A panic fails the batch with ErrPanicked. It must not end its goroutine.
	//
	// ctx is the queue's own, never a caller's; it ends only when the context of Close does. One
	// goroutine per shard calls Work. It must not change jobs or keep either slice, nor call Do
	// or DoToEnd of its own queue.
	Work func(ctx context.Context, jobs []J, answers []Answer[R]) error

	// RetryOneByOne reports whether an error of Work is the fault of one job and the batch had no
	// effect. Each job is then retried once, in order, as a batch of its own. Otherwise, and when
	// it is nil, every job of the batch gets the error.
	RetryOneByOne func(error) bool

	// Limiter, if not nil, is acquired after a batch's first job and before its others. Queues
	// share it.
	Limiter *Limiter

	// Log takes panics. Nil: nothing is logged.
	Log *slog.Logger

	// Observe is called for metrics.
	Observe Observer
}

// Answer is the result of one job.
type Answer[R any] struct {
	Value R
	Err   error
}

// Queue takes jobs and runs them in batches. Its methods may be called from any goroutine.
type Queue[J, R any] struct {
	config Config[J, R]

	// Allocated once: refusals under load allocate nothing.
	full, closed, panicked error

	seed    maphash.Seed
	workers []*worker[J, R]
	depth   atomic.Int64 // jobs that wait; see admit

	sending sync.RWMutex // held for reading over a send, for writing to close the channels
	closing bool         // under sending

	workCtx context.Context // Work's; ended by stop
	stop    context.CancelFunc
	alive   atomic.Int64  // workers that have not ended
	drained chan struct{} // closed by the last worker
}

// New returns a queue and starts its workers; Close ends them.
func New[J, R any](config Config[J, R]) *Queue[J, R] {
	config.Log = cmp.Or(config.Log, slog.New(slog.DiscardHandler))
	q := &Queue[J, R]{
		config:   config,
		full:     fmt.Errorf("%s: %w", config.Name, ErrFull),
		closed:   fmt.Errorf("%s: %w", config.Name, ErrClosed),
		panicked: fmt.Errorf("%s: %w", config.Name, ErrPanicked),
		seed:     maphash.MakeSeed(),
		workers:  make([]*worker[J, R], config.Shards),
		drained:  make(chan struct{}),
	}
	q.workCtx, q.stop = context.WithCancel(context.Background())
	q.alive.Store(int64(config.Shards))
	for i := range q.workers {
		q.workers[i] = newWorker(q)
		go q.workers[i].run()
	}
	return q
}

// Do submits a job and waits for its answer, until ctx ends. Jobs with one shardKey run in the
// order in which they were accepted.
//
// It returns the answer's error as Work gave it. The job was not run and never will be with:
//   - ErrFull, at once, when Capacity jobs wait already;
//   - ErrClosed after Close has begun, and for a job that waits when the context of Close ends;
//   - ErrNotStarted, with ctx's error, when ctx ended before a worker dequeued the job.
//
// The job was begun and its outcome is unknown with:
//   - ErrUnanswered, with ctx's error, when ctx ended after a worker dequeued the job, which goes
//     on;
//   - ErrPanicked when Work panicked.
func (q *Queue[J, R]) Do(ctx context.Context, shardKey string, job J) (R, error) {
	return q.do(ctx, shardKey, job, true)
}

// DoToEnd is Do, except that after a worker has dequeued the job it waits for the answer even when
// ctx ends. It never returns ErrUnanswered.
func (q *Queue[J, R]) DoToEnd(ctx context.Context, shardKey string, job J) (R, error) {
	return q.do(ctx, shardKey, job, false)
}

// do submits a job and waits. When ctx ends, the caller leaves a job that waits, and with
// abandonStarted also one that has been dequeued.
func (q *Queue[J, R]) do(ctx context.Context, shardKey string, job J, abandonStarted bool) (R, error) {
	var none R
	if err := ctx.Err(); err != nil {
		return none, q.notStarted(err)
	}
	c, err := q.submit(shardKey, job)
	if err != nil {
		if q.config.Observe.Refused != nil {
			q.config.Observe.Refused(err)
		}
		return none, err
	}

	var answer Answer[R]
	select {
	case answer = <-c.done:
	case <-ctx.Done():
		if c.decided.CompareAndSwap(false, true) {
			return none, q.notStarted(ctx.Err())
		}
		if abandonStarted && len(c.done) == 0 {
			return none, fmt.Errorf("%s: %w: %w", q.config.Name, ErrUnanswered, ctx.Err())
		}
		answer = <-c.done
	}
	return answer.Value, answer.Err
}

func (q *Queue[J, R]) notStarted(cause error) error {
	return fmt.Errorf("%s: %w: %w", q.config.Name, ErrNotStarted, cause)
}

// submit puts a job into its shard, or refuses it. It does not block.
func (q *Queue[J, R]) submit(shardKey string, job J) (*call[J, R], error) {
	weight := 1
	if q.config.Weight != nil {
		weight = max(1, q.config.Weight(job))
	}
	w := q.shard(shardKey)

	q.sending.RLock()
	defer q.sending.RUnlock()
	if q.closing {
		return nil, q.closed
	}
	if !q.admit() {
		return nil, q.full
	}
	c := &call[J, R]{job: job, weight: weight, since: time.Now(), done: make(chan Answer[R], 1)}
	w.waiting <- c // never blocks: each shard's channel buffers Capacity jobs
	return c, nil
}

// admit counts a job as waiting, unless Capacity jobs wait. The worker that dequeues the job counts
// it out, also when its caller has left: until then it takes up memory.
func (q *Queue[J, R]) admit() bool {
	for {
		n := q.depth.Load()
		if n >= int64(q.config.Capacity) {
			return false
		}
		if q.depth.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (q *Queue[J, R]) shard(shardKey string) *worker[J, R] {
	if len(q.workers) == 1 {
		return q.workers[0]
	}
	return q.workers[maphash.String(q.seed, shardKey)%uint64(len(q.workers))]
}

// State is the state of a queue, whatever its jobs are.
type State interface {
	Name() string
	Depth() int
	Capacity() int
	Full() bool
}

// Name is Config.Name.
func (q *Queue[J, R]) Name() string { return q.config.Name }

// Capacity is Config.Capacity.
func (q *Queue[J, R]) Capacity() int { return q.config.Capacity }

// Depth is the number of jobs that wait, from 0 to Capacity. A job whose caller has left counts
// until a worker dequeues it; a job under way does not.
func (q *Queue[J, R]) Depth() int { return int(q.depth.Load()) }

// Full reports whether a job that arrived now would be refused with ErrFull.
func (q *Queue[J, R]) Full() bool { return q.Depth() >= q.config.Capacity }

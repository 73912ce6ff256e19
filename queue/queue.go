// Package queue owns the bounded queues between a module and its store: callers hand in one job and
// wait for its answer, workers take what has gathered and do it in one batch.
//
// There is no timer in it. A worker that is idle starts a job at once; a worker that is busy finds,
// when it comes back, everything that came in the meantime. An idle system is quick and a loaded one
// batches by itself.
package queue

import (
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

	// Shards is the number of workers, 1 or more. Jobs with one key go to one worker, in order.
	Shards int

	// Capacity is the most jobs that wait, over all shards, 1 or more. Batches under way do not count.
	Capacity int

	// BatchSize is the most weight in one batch, 1 or more. A job that is heavier makes a batch of its own.
	BatchSize int

	// Weight weighs a job; less than 1 counts as 1. Nil: every job weighs 1. It runs in the caller's goroutine.
	Weight func(J) int

	// Work does a batch: it sets answers[i] for jobs[i]. An answer that it leaves alone is a zero Value
	// and no error. Where it returns an error, what it put into answers is forgotten: Isolate decides
	// what becomes of the jobs. A panic fails the batch with ErrPanicked.
	//
	// ctx is the queue's own, never a caller's; it ends only when the context of Close does. One
	// goroutine a shard calls Work. It must not reorder, change or keep either slice, nor call Do
	// or Finish of its own queue.
	Work func(ctx context.Context, jobs []J, answers []Answer[R]) error

	// Isolate reports whether an error of Work is one job's fault and nothing of the batch was done.
	// Then each job is run again by itself, in order, so that the bad one fails alone. Otherwise, and
	// where it is nil, every job of the batch gets the error.
	Isolate func(error) bool

	// Turns, if not nil, are waited for before a batch is gathered, and shared with other queues.
	Turns *Turns

	// Log takes panics. Nil: nothing is logged.
	Log *slog.Logger

	// Observe is told what the queue does. Its zero value costs nothing.
	Observe Observer
}

// Answer is what became of one job.
type Answer[R any] struct {
	Value R
	Err   error
}

// Queue takes jobs and runs them in batches. Its methods may be called from any goroutine.
type Queue[J, R any] struct {
	config Config[J, R]

	// Made once, so that a refusal under load allocates nothing.
	full, closed, panicked error

	seed    maphash.Seed
	workers []*worker[J, R]
	calls   sync.Pool    // of *call[J, R]
	depth   atomic.Int64 // places taken; see admit

	sending sync.RWMutex // held for reading over a send, for writing to close the channels
	closing bool         // under sending

	work    context.Context // Work's; ended by stop
	stop    context.CancelFunc
	running atomic.Int64  // workers
	drained chan struct{} // closed by the last worker
}

// New starts a queue's workers; Close ends them. It panics where a limit is below 1 or Work is missing.
func New[J, R any](config Config[J, R]) *Queue[J, R] {
	switch {
	case config.Shards < 1:
		panic(fmt.Sprintf("queue %s: Shards is %d, must be 1 or more", config.Name, config.Shards))
	case config.Capacity < 1:
		panic(fmt.Sprintf("queue %s: Capacity is %d, must be 1 or more", config.Name, config.Capacity))
	case config.BatchSize < 1:
		panic(fmt.Sprintf("queue %s: BatchSize is %d, must be 1 or more", config.Name, config.BatchSize))
	case config.Work == nil:
		panic(fmt.Sprintf("queue %s: Work is missing", config.Name))
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}

	q := &Queue[J, R]{
		config:   config,
		full:     fmt.Errorf("%s: %w", config.Name, ErrFull),
		closed:   fmt.Errorf("%s: %w", config.Name, ErrClosed),
		panicked: fmt.Errorf("%s: %w", config.Name, ErrPanicked),
		seed:     maphash.MakeSeed(),
		workers:  make([]*worker[J, R], config.Shards),
		drained:  make(chan struct{}),
	}
	q.calls.New = func() any { return newCall[J, R]() }
	q.work, q.stop = context.WithCancel(context.Background())
	q.running.Store(int64(config.Shards))
	for i := range q.workers {
		q.workers[i] = newWorker(q)
		go q.workers[i].run()
	}
	return q
}

// Do has a job done and waits for its answer, until ctx ends. Jobs with one key are done in the order
// in which they were accepted.
//
// It returns the answer's error as Work gave it, or one of these, where the job was never run and
// never will be:
//   - ErrFull, at once, when Capacity jobs wait already;
//   - ErrClosed once Close has begun, and for a job still waiting when the context of Close ends;
//   - ErrNotStarted, with ctx's error, when ctx ended before a worker took the job;
//
// or one of these, where it was begun and its outcome is not known:
//   - ErrUnanswered, with ctx's error, when ctx ended after a worker took the job, which goes on;
//   - ErrPanicked when Work panicked.
func (q *Queue[J, R]) Do(ctx context.Context, key string, job J) (R, error) {
	return q.do(ctx, key, job, leaveAnyTime)
}

// Finish is Do, but once a worker took the job it waits for the answer whatever becomes of ctx. It
// never returns ErrUnanswered.
func (q *Queue[J, R]) Finish(ctx context.Context, key string, job J) (R, error) {
	return q.do(ctx, key, job, leaveBeforeStart)
}

// patience says until when a caller whose context ended may leave its job.
type patience int

const (
	leaveAnyTime patience = iota
	leaveBeforeStart
)

func (q *Queue[J, R]) do(ctx context.Context, key string, job J, until patience) (R, error) {
	var none R
	if err := ctx.Err(); err != nil {
		return none, q.notStarted(err)
	}
	c, err := q.submit(key, job)
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
		if c.leave(waiting) {
			return none, q.notStarted(ctx.Err())
		}
		if until == leaveAnyTime && c.leave(taken) {
			return none, fmt.Errorf("%s: %w: %w", q.config.Name, ErrUnanswered, ctx.Err())
		}
		answer = <-c.done
	}
	q.calls.Put(c)
	return answer.Value, answer.Err
}

func (q *Queue[J, R]) notStarted(cause error) error {
	return fmt.Errorf("%s: %w: %w", q.config.Name, ErrNotStarted, cause)
}

// submit puts a job into its shard, or refuses it. It does not wait.
func (q *Queue[J, R]) submit(key string, job J) (*call[J, R], error) {
	weight := 1
	if q.config.Weight != nil {
		weight = max(1, q.config.Weight(job))
	}
	w := q.shard(key)

	q.sending.RLock()
	defer q.sending.RUnlock()
	if q.closing {
		return nil, q.closed
	}
	if !q.admit() {
		return nil, q.full
	}
	c := q.calls.Get().(*call[J, R])
	c.fill(job, weight)
	if q.config.Observe.Batch != nil {
		c.since = time.Now()
	}
	w.waiting <- c // never blocks: each shard has room for all that admit lets in
	return c, nil
}

// admit takes a place, if one is left. Whoever takes the job out of its shard gives the place back,
// also where the caller has gone: until then the job uses memory and a slot of its channel.
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

func (q *Queue[J, R]) shard(key string) *worker[J, R] {
	if len(q.workers) == 1 {
		return q.workers[0]
	}
	return q.workers[maphash.String(q.seed, key)%uint64(len(q.workers))]
}

// Name is Config.Name.
func (q *Queue[J, R]) Name() string { return q.config.Name }

// Capacity is Config.Capacity.
func (q *Queue[J, R]) Capacity() int { return q.config.Capacity }

// Depth is how many jobs wait, from 0 to Capacity. A job whose caller has gone counts until a worker
// comes past it; one that a worker has begun does not.
func (q *Queue[J, R]) Depth() int { return int(q.depth.Load()) }

// Full reports whether a job that came now would be refused for want of a place.
func (q *Queue[J, R]) Full() bool { return q.Depth() >= q.config.Capacity }

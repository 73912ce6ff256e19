package queue

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// call is one job in the queue.
type call[J, R any] struct {
	// decided is set once: by the worker that dequeues the job, or by a caller who leaves before
	// that. A job whose caller has left is never run.
	decided atomic.Bool
	job     J
	weight  int
	since   time.Time      // when it was accepted
	done    chan Answer[R] // buffers one answer: the worker never waits for the caller
}

// worker is one shard: the jobs that wait in it, and the goroutine that runs them. All fields
// except waiting belong to that goroutine.
type worker[J, R any] struct {
	queue   *Queue[J, R]
	waiting chan *call[J, R] // buffers Capacity jobs; closed by Close
	held    *call[J, R]      // received, not yet dequeued: too heavy for the last batch; the next begins with it

	// The batch. The three slices run in step and are reused.
	batch   []*call[J, R]
	jobs    []J
	answers []Answer[R]
	weight  int

	waiter   *waiter // in the limiter's list
	acquired bool    // the worker has a slot of the limiter
}

func newWorker[J, R any](q *Queue[J, R]) *worker[J, R] {
	size := q.config.BatchSize // a job weighs 1 or more
	waiting := make(chan *call[J, R], q.config.Capacity)
	return &worker[J, R]{
		queue:   q,
		waiting: waiting,
		waiter:  &waiter{queued: func() int { return len(waiting) }, granted: make(chan struct{}, 1)},
		batch:   make([]*call[J, R], 0, size),
		jobs:    make([]J, 0, size),
		answers: make([]Answer[R], 0, size),
	}
}

// run runs batch after batch until the queue is closed and empty.
func (w *worker[J, R]) run() {
	for w.gather() {
		w.do()
		w.reset()
	}
	if w.queue.alive.Add(-1) == 0 {
		close(w.queue.drained)
	}
}

// gather waits for one job and then for a slot of the limiter. It dequeues the other jobs that are
// there, up to BatchSize. It returns false when the queue is closed and empty.
//
// When the channel is empty it yields the processor once. The scheduler runs a woken worker before
// callers that are about to submit; without the yield a saturated machine makes batches of one or
// two jobs (go test -bench DoSaturated).
func (w *worker[J, R]) gather() bool {
	for len(w.batch) == 0 {
		c := w.held
		w.held = nil
		if c == nil {
			var open bool
			if c, open = <-w.waiting; !open {
				return false
			}
		}
		w.dequeue(c)
	}
	w.acquired = w.queue.config.Limiter.acquire(w.waiter, len(w.batch))
	yielded := false
	for w.weight < w.queue.config.BatchSize {
		select {
		case c, open := <-w.waiting:
			if !open {
				return true // this batch first; the next gather finds the channel closed again
			}
			if c.weight > w.queue.config.BatchSize-w.weight && !c.decided.Load() {
				w.held = c
				return true
			}
			w.dequeue(c)
		default:
			if yielded {
				return true
			}
			yielded = true
			runtime.Gosched()
		}
	}
	return true
}

// dequeue puts a job into the batch, unless its caller has left or the context of Close has ended.
func (w *worker[J, R]) dequeue(c *call[J, R]) {
	w.queue.depth.Add(-1)
	switch {
	case w.queue.workCtx.Err() != nil:
		c.done <- Answer[R]{Err: w.queue.closed}
	case c.decided.CompareAndSwap(false, true):
		w.batch = append(w.batch, c)
		w.jobs = append(w.jobs, c.job)
		w.answers = append(w.answers, Answer[R]{})
		w.weight += c.weight
	}
}

// do runs the batch and answers its jobs.
func (w *worker[J, R]) do() {
	began := time.Now()
	waited := began.Sub(w.batch[0].since) // first in, so it waited longest
	retry, err := w.try(0, len(w.batch))
	if retry {
		clear(w.answers) // of the failed batch
		for i := range w.batch {
			_, err := w.try(i, i+1)
			w.answer(i, err)
		}
	} else {
		w.release() // the next batch need not wait until these jobs are answered
		for i := range w.batch {
			w.answer(i, err)
		}
	}
	if observe := w.queue.config.Observe.BatchDone; observe != nil {
		observe(BatchStats{Jobs: len(w.batch), Waited: waited, Took: time.Since(began)})
	}
}

// try calls Work for the jobs from one index up to another, and recovers its panic. It reports
// whether they must be retried one by one.
func (w *worker[J, R]) try(from, to int) (retry bool, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			w.queue.config.Log.Error("work panicked",
				slog.String("queue", w.queue.config.Name),
				slog.Int("jobs", to-from),
				slog.Any("panic", panicked),
				slog.String("stack", string(debug.Stack())))
			retry, err = false, w.queue.panicked
		}
	}()
	// Cut to their length, so that an append in Work cannot reach the neighbours.
	err = w.queue.config.Work(w.queue.workCtx, w.jobs[from:to:to], w.answers[from:to:to])
	if err != nil && to-from > 1 && w.queue.config.RetryOneByOne != nil {
		retry = w.queue.config.RetryOneByOne(err)
	}
	return retry, err
}

// answer answers a job, with the error if there is one.
func (w *worker[J, R]) answer(i int, err error) {
	if err != nil {
		w.answers[i] = Answer[R]{Err: err}
	}
	w.batch[i].done <- w.answers[i]
}

// release gives the limiter's slot back, if the worker has one.
func (w *worker[J, R]) release() {
	if w.acquired {
		w.acquired = false
		w.queue.config.Limiter.release()
	}
}

// reset ends the batch. Clearing lets the garbage collector free its jobs while the worker waits.
func (w *worker[J, R]) reset() {
	w.release()
	clear(w.batch)
	clear(w.jobs)
	clear(w.answers)
	w.batch, w.jobs, w.answers, w.weight = w.batch[:0], w.jobs[:0], w.answers[:0], 0
}

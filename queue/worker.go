package queue

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"
)

// worker is one shard: the jobs that wait in it, and the goroutine that does them. All but waiting
// belongs to that goroutine.
type worker[J, R any] struct {
	queue   *Queue[J, R]
	waiting chan *call[J, R] // Capacity places; closed by Close
	carried *call[J, R]      // did not fit into the last batch, still waiting; the next begins with it

	// The batch. The three run in step and are reused from batch to batch.
	batch   []*call[J, R] // nil where answered
	jobs    []J
	answers []Answer[R]
	weight  int

	turn    *turn // what it waits for before it gathers
	hasTurn bool  // to be given back
}

func newWorker[J, R any](q *Queue[J, R]) *worker[J, R] {
	most := q.config.BatchSize // a job weighs 1 or more
	waiting := make(chan *call[J, R], q.config.Capacity)
	return &worker[J, R]{
		queue:   q,
		waiting: waiting,
		turn:    newTurn(func() int { return len(waiting) }),
		batch:   make([]*call[J, R], 0, most),
		jobs:    make([]J, 0, most),
		answers: make([]Answer[R], 0, most),
	}
}

// run does batch after batch until the queue is closed and empty.
func (w *worker[J, R]) run() {
	drained := false
	defer func() {
		if !drained { // Work called runtime.Goexit, as a test's FailNow does: another goroutine goes on
			w.answerAll(w.queue.panicked)
			w.reset()
			w.endTurn()
			go w.run()
			return
		}
		if w.queue.running.Add(-1) == 0 {
			close(w.queue.drained)
		}
	}()
	for w.gather() {
		w.do()
		w.reset()
		w.endTurn()
	}
	drained = true
}

// gather waits for one job, then takes what else is there, up to BatchSize. It returns false when the
// queue is closed and nothing is left.
//
// Where it finds no more it lets other goroutines go first, once, and looks again. The runtime starts
// a woken worker before callers that were about to hand in their jobs; without the yield a saturated
// processor makes batches of one or two. An idle one returns from it at once.
func (w *worker[J, R]) gather() bool {
	for len(w.batch) == 0 {
		c := w.carried
		w.carried = nil
		if c == nil {
			var open bool
			if c, open = <-w.waiting; !open {
				return false
			}
		}
		w.take(c)
	}
	w.hasTurn = w.queue.config.Turns.take(w.turn, len(w.batch))
	yielded := false
	for w.weight < w.queue.config.BatchSize {
		select {
		case c, open := <-w.waiting:
			if !open {
				return true // the jobs at hand first; the next gather finds it closed again
			}
			if c.weight > w.queue.config.BatchSize-w.weight && !c.gone() {
				w.carried = c
				return true
			}
			w.take(c)
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

// take puts a job into the batch, unless its caller has gone or Close is out of time.
func (w *worker[J, R]) take(c *call[J, R]) {
	w.queue.depth.Add(-1)
	switch {
	case w.queue.work.Err() != nil:
		c.empty()
		w.answer(c, Answer[R]{Err: w.queue.closed})
	case c.take():
		w.batch = append(w.batch, c)
		w.jobs = append(w.jobs, c.empty())
		w.answers = append(w.answers, Answer[R]{})
		w.weight += c.weight
	default:
		c.empty()
		w.queue.calls.Put(c)
	}
}

// do runs the batch and answers its jobs.
func (w *worker[J, R]) do() {
	observe := w.queue.config.Observe.Batch
	var began time.Time
	var measure Batch
	if observe != nil {
		began = time.Now()
		waited := began.Sub(w.batch[0].since) // first in, so it waited longest
		measure = Batch{Jobs: len(w.batch), Weight: w.weight, Waited: waited}
	}

	alone, err := w.try(0, len(w.batch))
	if !alone {
		w.endTurn() // the next one need not wait until these are answered
	}
	switch {
	case alone:
		w.oneByOne()
	case err != nil:
		w.answerAll(err)
	default:
		for i := range w.batch {
			w.answerAt(i, w.answers[i])
		}
	}

	if observe != nil {
		measure.Took = time.Since(began)
		observe(measure)
	}
}

// oneByOne runs each job as a batch of its own and answers it at once.
func (w *worker[J, R]) oneByOne() {
	clear(w.answers) // what the failed batch left
	for i := range w.batch {
		if _, err := w.try(i, i+1); err != nil {
			w.answerAt(i, Answer[R]{Err: err})
			continue
		}
		w.answerAt(i, w.answers[i])
	}
}

// try has Work do the jobs from one index up to another, and survives its panic. It reports whether
// they are to be run again one by one.
func (w *worker[J, R]) try(from, to int) (alone bool, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		w.queue.config.Log.Error("work panicked",
			slog.String("queue", w.queue.config.Name),
			slog.Int("jobs", to-from),
			slog.Any("panic", recover()), // nil for runtime.Goexit
			slog.String("stack", string(debug.Stack())))
		alone, err = false, w.queue.panicked
	}()
	// Cut to their length, so that an append in Work cannot reach the neighbours.
	err = w.queue.config.Work(w.queue.work, w.jobs[from:to:to], w.answers[from:to:to])
	if err != nil && to-from > 1 && w.queue.config.Isolate != nil {
		alone = w.queue.config.Isolate(err)
	}
	returned = true
	return alone, err
}

// answerAll gives every job that has no answer yet the same error.
func (w *worker[J, R]) answerAll(err error) {
	for i, c := range w.batch {
		if c != nil {
			w.answerAt(i, Answer[R]{Err: err})
		}
	}
}

func (w *worker[J, R]) answerAt(i int, a Answer[R]) {
	c := w.batch[i]
	w.batch[i] = nil // from here on it may be another job's
	w.answer(c, a)
}

func (w *worker[J, R]) answer(c *call[J, R], a Answer[R]) {
	if !c.answer(a) {
		w.queue.calls.Put(c)
	}
}

// endTurn lets another worker go on.
func (w *worker[J, R]) endTurn() {
	if w.hasTurn {
		w.hasTurn = false
		w.queue.config.Turns.giveBack()
	}
}

// reset empties the batch for the next one. What is cleared is not kept alive while the worker waits.
func (w *worker[J, R]) reset() {
	clear(w.batch)
	clear(w.jobs)
	clear(w.answers)
	w.batch, w.jobs, w.answers, w.weight = w.batch[:0], w.jobs[:0], w.answers[:0], 0
}

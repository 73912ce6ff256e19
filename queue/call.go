package queue

import (
	"sync/atomic"
	"time"
)

// state is how far a call has come:
//
//	waiting ──▶ taken ──▶ answered
//	   │  └───────┼──────▲  (refused unrun, when Close is out of time)
//	   └──▶ left ◀┘
//
// The worker moves it to the right and the caller moves it down, each with one atomic step. So both
// know who was first, and exactly one of them is the last to touch the call and gives it back to the
// pool: the worker when the caller left, the caller when it was answered.
type state = uint32

const (
	waiting state = iota
	taken
	answered
	left
)

// call is one job on its way through the queue, reused for another when its way is over.
type call[J, R any] struct {
	state  atomic.Uint32
	job    J
	weight int
	since  time.Time      // when it was accepted; zero without Observer.Batch
	done   chan Answer[R] // one place, so that the worker never waits for the caller
}

func newCall[J, R any]() *call[J, R] {
	return &call[J, R]{done: make(chan Answer[R], 1)}
}

// fill readies a call from the pool.
func (c *call[J, R]) fill(job J, weight int) {
	c.job, c.weight = job, weight
	c.state.Store(waiting)
}

// empty lets go of the job, so that a call in the pool keeps nothing alive.
func (c *call[J, R]) empty() J {
	var none J
	job := c.job
	c.job = none
	return job
}

// leave is the caller's: it reports whether the call was in the state that was expected, and the
// caller has left it. The call is then the worker's alone.
func (c *call[J, R]) leave(expected state) bool {
	return c.state.CompareAndSwap(expected, left)
}

// take is the worker's: it reports whether the caller still waited. The job then counts as begun.
func (c *call[J, R]) take() bool {
	return c.state.CompareAndSwap(waiting, taken)
}

// gone is the worker's: it reports whether the caller has left.
func (c *call[J, R]) gone() bool {
	return c.state.Load() == left
}

// answer is the worker's last step with a call: it reports whether the caller gets the answer, and
// the call with it. Otherwise the caller has left.
func (c *call[J, R]) answer(a Answer[R]) bool {
	if c.state.Swap(answered) == left {
		return false
	}
	c.done <- a
	return true
}

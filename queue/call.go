package queue

import (
	"sync/atomic"
	"time"
)

// state is the state of a call:
//
//	waiting ──▶ dequeued ──▶ answered
//	   │  └────────┼──────────▲  (not run, when the context of Close has ended)
//	   └▶ abandoned ◀
//
// The worker moves it to the right and the caller moves it down, each by one atomic operation. So
// both know who was first, and exactly one of them returns the call to the pool: the worker when
// the call was abandoned, the caller when it was answered.
type state = uint32

const (
	waiting state = iota
	dequeued
	answered
	abandoned
)

// call is one job in the queue. Calls are pooled.
type call[J, R any] struct {
	state  atomic.Uint32
	job    J
	weight int
	since  time.Time      // when it was accepted; zero without Observer.Batch
	done   chan Answer[R] // has one place: the worker never waits for the caller
}

func newCall[J, R any]() *call[J, R] {
	return &call[J, R]{done: make(chan Answer[R], 1)}
}

// fill prepares a call from the pool.
func (c *call[J, R]) fill(job J, weight int) {
	c.job, c.weight = job, weight
	c.state.Store(waiting)
}

// empty returns the job and removes it from the call, so that a pooled call keeps nothing alive.
func (c *call[J, R]) empty() J {
	var none J
	job := c.job
	c.job = none
	return job
}

// abandon is the caller's: it reports whether the call was in the expected state and is now
// abandoned. It then belongs to the worker.
func (c *call[J, R]) abandon(expected state) bool {
	return c.state.CompareAndSwap(expected, abandoned)
}

// dequeue is the worker's: it reports whether the caller still waits. The job then counts as begun.
func (c *call[J, R]) dequeue() bool {
	return c.state.CompareAndSwap(waiting, dequeued)
}

// isAbandoned is the worker's: it reports whether the caller has left.
func (c *call[J, R]) isAbandoned() bool {
	return c.state.Load() == abandoned
}

// answer is the worker's last step: it reports whether the caller gets the answer, and the call
// with it. Otherwise the caller has left.
func (c *call[J, R]) answer(a Answer[R]) bool {
	if c.state.Swap(answered) == abandoned {
		return false
	}
	c.done <- a
	return true
}

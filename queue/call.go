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
	job    J // until a worker dequeues it
	weight int
	since  time.Time      // when it was accepted
	done   chan Answer[R] // has one place: the worker never waits for the caller
}

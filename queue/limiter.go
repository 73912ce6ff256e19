package queue

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// limiterTimeout is the maximum time that a worker waits for a slot. A batch that waits for a
// locked row delays the batches of other queues by no more than this.
const limiterTimeout = 20 * time.Millisecond

// A Limiter delays the batches of several queues so that about n run at once on one resource, such
// as a database. Workers that wait gather further jobs: the busier the resource, the fewer and
// larger its batches. After limiterTimeout a worker runs its batch without a slot. Without a
// limiter, each queue would go on with small batches of its own (docs/decisions.md, "Queues share a
// limiter").
//
// The next slot goes to the worker whose jobs have waited longest in sum: time since its arrival ×
// jobs.
type Limiter struct {
	mu        sync.Mutex
	freeSlots int
	waiting   []*waiter // in order of arrival; empty while slots are free
}

// A waiter is one worker's entry in a Limiter's list, reused for each batch.
type waiter struct {
	since   time.Time     // its arrival
	jobs    int           // in its batch at arrival
	queued  func() int    // jobs that have arrived behind them
	granted chan struct{} // receives once when a slot is granted
}

// waited estimates the sum of its jobs' waiting times. All jobs count from the worker's arrival.
func (w *waiter) waited(now time.Time) time.Duration {
	return now.Sub(w.since) * time.Duration(w.jobs+w.queued())
}

// NewLimiter returns a limiter with n slots, 1 or more.
func NewLimiter(n int) *Limiter { return &Limiter{freeSlots: n} }

// acquire waits for a slot, at most limiterTimeout, for a worker that has that many jobs. It
// reports whether it got one; release gives it back. A nil Limiter grants none and does not wait.
func (l *Limiter) acquire(w *waiter, jobs int) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	if l.freeSlots > 0 {
		l.freeSlots--
		l.mu.Unlock()
		return true
	}
	w.since, w.jobs = time.Now(), jobs
	l.waiting = append(l.waiting, w)
	l.mu.Unlock()

	select {
	case <-w.granted:
		return true
	case <-time.After(limiterTimeout):
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, w); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		return false
	}
	<-w.granted // granted just after the timeout
	return true
}

// release gives the caller's slot back. It does not block.
func (l *Limiter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.freeSlots++
		return
	}
	now := time.Now()
	next := slices.MaxFunc(l.waiting, func(a, b *waiter) int { return cmp.Compare(a.waited(now), b.waited(now)) })
	next.granted <- struct{}{}
	l.waiting = slices.DeleteFunc(l.waiting, func(w *waiter) bool { return w == next })
}

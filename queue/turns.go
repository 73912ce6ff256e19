package queue

import (
	"slices"
	"sync"
	"time"
)

// turnPatience is how long a worker waits for its turn. One that works for longer, on a row that somebody else keeps locked for
// one, holds the others up no more than this.
const turnPatience = 20 * time.Millisecond

// Turns are shared by the workers of several queues whose work contends for the same resource, such as a database: so many
// work at once, and the others wait before they gather their batches. The busier the resource, the fewer and larger are the
// batches that it gets; without turns each queue would go on with small ones of its own.
//
// The next turn is that of the worker whose jobs have waited most, all of them together: the time since it came, times its
// jobs. A queue with few jobs so gathers some more beside one with many, for which each turn of another is dear.
type Turns struct {
	mu      sync.Mutex
	free    int
	waiting []*turn // who waits, in the order in which they came; none while some are free
}

// A turn is what a worker waits for, again and again.
type turn struct {
	since time.Time     // when the worker came
	taken int           // how many jobs it came with
	more  func() int    // how many came behind them
	given chan struct{} // has one token when it is given
}

func newTurn(more func() int) *turn { return &turn{more: more, given: make(chan struct{}, 1)} }

// waited adds up for how long its jobs have waited, roughly: those that came later count like the first, and those that came while the
// worker did its last batch count from then on.
func (t *turn) waited(now time.Time) time.Duration {
	return now.Sub(t.since) * time.Duration(t.taken+t.more())
}

// NewTurns returns turns for n workers at once, 1 or more.
func NewTurns(n int) *Turns { return &Turns{free: n} }

// take waits for a turn for a worker that has so many jobs at hand, and reports whether it got one that is to be given back. nil
// gives none, at once.
func (t *Turns) take(mine *turn, jobs int) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}
	mine.since, mine.taken = time.Now(), jobs
	t.waiting = append(t.waiting, mine)
	t.mu.Unlock()

	timer := time.NewTimer(turnPatience)
	defer timer.Stop()
	select {
	case <-mine.given:
		return true
	case <-timer.C:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, mine); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		return false
	}
	<-mine.given // meanwhile
	return true
}

// giveBack ends the caller's turn. It does not wait.
func (t *Turns) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	now := time.Now()
	next := 0
	for i := range t.waiting {
		if t.waiting[i].waited(now) > t.waiting[next].waited(now) {
			next = i
		}
	}
	t.waiting[next].given <- struct{}{}
	t.waiting = slices.Delete(t.waiting, next, next+1)
}

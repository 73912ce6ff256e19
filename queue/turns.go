package queue

import "time"

// turnPatience is how long a worker waits for its turn. One that works for longer, on a row that somebody else keeps locked for
// one, holds the others up no more than this.
const turnPatience = 20 * time.Millisecond

// Turns are shared by the workers of several queues whose work contends for the same resource, such as a database: so many
// work at once, and the others wait, first come, first served, before they gather their batches. The busier the resource,
// the fewer and larger are the batches that it gets; without turns each queue would go on with small ones of its own.
type Turns struct{ taken chan struct{} }

// NewTurns returns turns for n workers at once, 1 or more.
func NewTurns(n int) *Turns { return &Turns{make(chan struct{}, n)} }

// take waits for a turn, and reports whether it got one that is to be given back. nil gives none, at once.
func (t *Turns) take() bool {
	if t == nil {
		return false
	}
	select {
	case t.taken <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(turnPatience)
	defer timer.Stop()
	select {
	case t.taken <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

func (t *Turns) giveBack() { <-t.taken }

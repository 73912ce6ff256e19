package idempotency

import (
	"context"
	"sync"
	"time"

	"cartwheel/database"
)

const (
	// firstPoll is the time between the first two polls of a pending key. It doubles up to maxPoll.
	firstPoll = 10 * time.Millisecond
	// maxPoll is the longest time between two polls of a pending key.
	maxPoll = 250 * time.Millisecond
)

// A Watcher waits for answers to requests that are under way, on this instance or on another. All
// repeats of one key share one poll: a thousand repeats cost the database as much as one. It starts
// no goroutines.
type Watcher struct {
	find func(context.Context, Key) (Record, bool, error)

	mu    sync.Mutex
	polls map[Key]*poll
}

// NewWatcher returns a Watcher of the keys in db.
func NewWatcher(db *database.DB) *Watcher {
	return &Watcher{
		find:  func(ctx context.Context, key Key) (Record, bool, error) { return Find(ctx, db, key) },
		polls: map[Key]*poll{},
	}
}

// Polled returns the number of keys that callers wait for.
func (w *Watcher) Polled() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.polls)
}

// A poll is shared by all callers that wait for one key.
type poll struct {
	waiting int // callers; under Watcher.mu

	turn   chan struct{} // holds a value while one caller polls for all
	pause  time.Duration // before the next look; owned by that caller
	done   chan struct{} // closed after record and stored are set
	record Record
	stored bool
}

// Wait blocks until the request with this key has an answer, and returns it. It returns false when
// the key is not stored any more. Its only error is that of ctx: while the database is away it goes
// on waiting.
func (w *Watcher) Wait(ctx context.Context, key Key) (Record, bool, error) {
	p := w.join(key)
	defer w.leave(key, p)
	for {
		select {
		case <-p.done:
			return p.record, p.stored, nil
		case <-ctx.Done():
			return Record{}, false, ctx.Err()
		case p.turn <- struct{}{}:
		}
		w.lookUp(ctx, key, p)
		<-p.turn
	}
}

// lookUp polls once. It returns early when ctx ends; another caller then polls.
func (w *Watcher) lookUp(ctx context.Context, key Key, p *poll) {
	select {
	case <-p.done:
		return
	default:
	}
	timer := time.NewTimer(p.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	p.pause = min(2*p.pause, maxPoll)
	record, stored, err := w.find(ctx, key)
	if err == nil && (!stored || !record.UnderWay()) {
		p.record, p.stored = record, stored
		close(p.done)
	}
}

func (w *Watcher) join(key Key) *poll {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.polls[key]
	if p == nil {
		p = &poll{turn: make(chan struct{}, 1), done: make(chan struct{}), pause: firstPoll}
		w.polls[key] = p
	}
	p.waiting++
	return p
}

// leave forgets the poll with its last caller. A poll that has its answer is forgotten at once: the
// key may be used again.
func (w *Watcher) leave(key Key, p *poll) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.waiting--
	ended := false
	select {
	case <-p.done:
		ended = true
	default:
	}
	if (ended || p.waiting == 0) && w.polls[key] == p {
		delete(w.polls, key)
	}
}

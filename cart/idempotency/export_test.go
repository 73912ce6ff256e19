package idempotency

import "context"

// PruneOnce is one transaction of Prune.
var PruneOnce = pruneOnce

// AnsweredBefore and Remove are the statements of PruneOnce.
var (
	AnsweredBefore = answeredBefore
	Remove         = remove
)

// PruneRows is the maximum of keys that one transaction prunes.
const PruneRows = pruneRows

// NewWatcherOf returns a Watcher that looks keys up with find.
func NewWatcherOf(find func(context.Context, Key) (Record, bool, error)) *Watcher {
	return &Watcher{find: find, polls: map[Key]*poll{}}
}

// Waiting returns the number of callers that wait for the key.
func (w *Watcher) Waiting(key Key) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.polls[key]; p != nil {
		return p.waiting
	}
	return 0
}

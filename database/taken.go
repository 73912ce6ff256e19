package database

import (
	"maps"
	"sync"
	"time"
)

const (
	// takenFor is how long a key is remembered after its row was last found locked by someone else.
	takenFor = 10 * time.Second
	// maxTaken bounds the memory for such keys; beyond it, rows are waited for again.
	maxTaken = 1024
)

// Taken remembers the keys whose rows someone else kept locked for longer than we wait, so that the next batches
// ask for those rows without waiting and everybody else's requests go on. The zero value is ready to use, from
// any goroutine.
type Taken struct {
	now func() time.Time // nil: time.Now

	mu   sync.Mutex
	keys map[string]time.Time // until when; under mu
}

// Split parts the keys into those to wait for and those to ask for without waiting, each in the order given.
func (t *Taken) Split(keys []string) (wait, ask []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys) == 0 {
		return keys, nil
	}
	now := t.time()
	for _, key := range keys {
		until, known := t.keys[key]
		switch {
		case !known:
			wait = append(wait, key)
		case now.After(until):
			delete(t.keys, key)
			wait = append(wait, key)
		default:
			ask = append(ask, key)
		}
	}
	return wait, ask
}

// Any reports whether any key is remembered.
func (t *Taken) Any() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.keys) > 0
}

// Found notes what came of asking: the key's row was taken by someone else, or it was not.
func (t *Taken) Found(key string, taken bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !taken {
		delete(t.keys, key)
		return
	}
	if t.keys == nil {
		t.keys = make(map[string]time.Time)
	}
	now := t.time()
	if _, known := t.keys[key]; !known && len(t.keys) >= maxTaken {
		// Keys that nobody asked for again would fill it forever.
		maps.DeleteFunc(t.keys, func(_ string, until time.Time) bool { return now.After(until) })
		if len(t.keys) >= maxTaken {
			return
		}
	}
	t.keys[key] = now.Add(takenFor)
}

func (t *Taken) time() time.Time {
	if t.now == nil {
		return time.Now()
	}
	return t.now()
}

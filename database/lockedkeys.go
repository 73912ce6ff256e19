package database

import (
	"maps"
	"sync"
	"time"
)

const (
	// lockedFor is how long a key is remembered after its row was last found locked by someone else.
	lockedFor = 10 * time.Second
	// maxLockedKeys bounds the memory for such keys; beyond it, rows are waited for again.
	maxLockedKeys = 1024
)

// LockedKeys remembers the keys whose rows someone else kept locked for longer than we wait, so that the next batches
// ask for those rows without waiting and everybody else's requests go on. The zero value is ready to use, from
// any goroutine.
type LockedKeys struct {
	now func() time.Time // nil: time.Now

	mu   sync.Mutex
	keys map[string]time.Time // until when; under mu
}

// Split parts the keys into those to wait for and those to ask for without waiting, each in the order given.
func (t *LockedKeys) Split(keys []string) (wait, ask []string) {
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

// Found notes what came of asking: the key's row was taken by someone else, or it was not.
func (t *LockedKeys) Found(key string, taken bool) {
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
	if _, known := t.keys[key]; !known && len(t.keys) >= maxLockedKeys {
		// Keys that nobody asked for again would fill it forever.
		maps.DeleteFunc(t.keys, func(_ string, until time.Time) bool { return now.After(until) })
		if len(t.keys) >= maxLockedKeys {
			return
		}
	}
	t.keys[key] = now.Add(lockedFor)
}

func (t *LockedKeys) time() time.Time {
	if t.now == nil {
		return time.Now()
	}
	return t.now()
}

package database

import (
	"maps"
	"sync"
	"time"
)

const (
	// lockedFor is how long a key is remembered after its row was last found locked.
	lockedFor = 10 * time.Second
	// maxLockedKeys is the maximum number of remembered keys. Beyond it, rows are waited for again.
	maxLockedKeys = 1024
)

// LockedKeys remembers the keys whose rows another session locked for longer than we wait. The
// next batches ask for those rows without waiting, so that all other requests go on. The zero value
// is ready to use, from any goroutine.
type LockedKeys struct {
	mu   sync.Mutex
	keys map[string]time.Time // until when; under mu
}

// Split splits the keys into those to wait for and those to ask for without waiting, each in the
// order given.
func (t *LockedKeys) Split(keys []string) (wait, ask []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys) == 0 {
		return keys, nil
	}
	now := time.Now()
	for _, key := range keys {
		if until, known := t.keys[key]; known && !now.After(until) {
			ask = append(ask, key)
			continue
		}
		delete(t.keys, key)
		wait = append(wait, key)
	}
	return wait, ask
}

// Found records whether the key's row was locked by another session.
func (t *LockedKeys) Found(key string, locked bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !locked {
		delete(t.keys, key)
		return
	}
	if t.keys == nil {
		t.keys = make(map[string]time.Time)
	}
	now := time.Now()
	if _, known := t.keys[key]; !known && len(t.keys) >= maxLockedKeys {
		// Keys that are never asked for again would stay forever.
		maps.DeleteFunc(t.keys, func(_ string, until time.Time) bool { return now.After(until) })
		if len(t.keys) >= maxLockedKeys {
			return
		}
	}
	t.keys[key] = now.Add(lockedFor)
}

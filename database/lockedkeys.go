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
//
// In names, "locked" means by another session; rows that this transaction has locked have none.
type LockedKeys struct {
	mu   sync.Mutex
	keys map[string]time.Time // until when; under mu
}

// Split splits the keys into those whose rows may be waited for, and the suspects, whose rows may
// still be locked and must be asked for without waiting. Both are in the order given.
func (t *LockedKeys) Split(keys []string) (waitable, suspects []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys) == 0 {
		return keys, nil
	}
	now := time.Now()
	for _, key := range keys {
		if until, known := t.keys[key]; known && !now.After(until) {
			suspects = append(suspects, key)
			continue
		}
		delete(t.keys, key)
		waitable = append(waitable, key)
	}
	return waitable, suspects
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

package database

import (
	"maps"
	"sync"
	"time"
)

const (
	// lockedFor is how long a key is remembered after its row was last found locked.
	lockedFor = 10 * time.Second
	// maxLockedRows is the maximum number of remembered keys. Beyond it, rows are waited for again.
	maxLockedRows = 1024
)

// LockedRows remembers the keys whose rows another session locked for longer than we wait. The
// next batches ask for those rows without waiting, so that all other requests go on. The zero value
// is ready to use, from any goroutine.
//
// In names, "locked" means by another session; rows that this transaction has locked have none.
type LockedRows struct {
	mu   sync.Mutex
	keys map[string]time.Time // until when; under mu
}

// Split splits the keys into those whose rows may be waited for, and the suspects, whose rows may
// still be locked and must be asked for without waiting. Both are in the order given.
func (l *LockedRows) Split(keys []string) (waitable, suspects []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.keys) == 0 {
		return keys, nil
	}
	now := time.Now()
	for _, key := range keys {
		if until, known := l.keys[key]; known && !now.After(until) {
			suspects = append(suspects, key)
			continue
		}
		delete(l.keys, key)
		waitable = append(waitable, key)
	}
	return waitable, suspects
}

// Found records whether the key's row was locked by another session.
func (l *LockedRows) Found(key string, locked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !locked {
		delete(l.keys, key)
		return
	}
	if l.keys == nil {
		l.keys = make(map[string]time.Time)
	}
	now := time.Now()
	if _, known := l.keys[key]; !known && len(l.keys) >= maxLockedRows {
		// Keys that are never asked for again would stay forever.
		maps.DeleteFunc(l.keys, func(_ string, until time.Time) bool { return now.After(until) })
		if len(l.keys) >= maxLockedRows {
			return
		}
	}
	l.keys[key] = now.Add(lockedFor)
}

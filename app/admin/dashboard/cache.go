package dashboard

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readTimeout is the maximum time of one read of the database.
	readTimeout = 3 * time.Second
	// minAge is the minimum age of cached rows when they are read again.
	minAge = sampleInterval / 2
	// idleShare is the minimum ratio of the age to the duration of the read: reading takes two
	// hundredths of the time at most, however large the catalogue is.
	idleShare = 50
)

// cachedRows are the first rows of a query.
type cachedRows[T any] struct {
	Rows   []T
	More   bool // there are more than these
	At     time.Time
	Failed bool // the last read failed; these are of the one before

	expires time.Time
}

// A cache holds the first rows of a query of the database.
type cache[T any] struct {
	query func(ctx context.Context, limit int) ([]T, error)
	limit int // rows

	reading sync.Mutex // held during a read
	last    atomic.Pointer[cachedRows[T]]
}

// get returns the rows that were read last; none before the first read. It does not block.
func (c *cache[T]) get() cachedRows[T] {
	return *cmp.Or(c.last.Load(), &cachedRows[T]{})
}

// refresh reads the rows again when they have expired. It blocks until they are read, by this
// caller or another one.
func (c *cache[T]) refresh(ctx context.Context) {
	c.reading.Lock()
	defer c.reading.Unlock()
	began := time.Now()
	next := c.get()
	if began.Before(next.expires) {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	rows, err := c.query(bounded, c.limit+1)
	now := time.Now()
	switch {
	case ctx.Err() != nil: // the caller left, which says nothing of the database
		return
	case err != nil:
		next.Failed, next.expires = true, now.Add(minAge)
	default:
		expires := now.Add(max(minAge, idleShare*now.Sub(began)))
		next = cachedRows[T]{Rows: rows[:min(len(rows), c.limit)], More: len(rows) > c.limit, At: began, expires: expires}
	}
	c.last.Store(&next)
}

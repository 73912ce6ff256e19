package dashboard

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readTime is the maximum time of one read of the database.
	readTime = 3 * time.Second
	// freshFor is the minimum time for which a table is shown again instead of being read.
	freshFor = 2 * time.Second
	// idleShare is how many times as long as a read took it is not repeated: reading takes two
	// hundredths of the time at most, however large the catalogue is.
	idleShare = 50
)

// A table is what was read of the database.
type table[T any] struct {
	Rows   []T
	More   bool // there are more than these
	At     time.Time
	Failed bool // it could not be read again; these are the last rows that could

	stale time.Time // when it is to be read again
}

// A cache reads a table, one reader at a time, and caches it.
type cache[T any] struct {
	read func(ctx context.Context, limit int) ([]T, error)
	rows int // maximum

	reading sync.Mutex
	last    atomic.Pointer[table[T]]
}

// cached returns the table as it was read last. It does not block.
func (c *cache[T]) cached() table[T] {
	if last := c.last.Load(); last != nil {
		return *last
	}
	return table[T]{}
}

// get returns the table, and reads it first when it is stale. It blocks while it or another caller
// reads.
func (c *cache[T]) get(ctx context.Context) table[T] {
	c.reading.Lock()
	defer c.reading.Unlock()
	known := c.cached()
	began := time.Now()
	if began.Before(known.stale) {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	rows, err := c.read(ctx, c.rows+1)
	if err != nil {
		known.Failed = true
	} else {
		known = table[T]{Rows: rows[:min(len(rows), c.rows)], More: len(rows) > c.rows, At: began}
	}
	known.stale = time.Now().Add(max(freshFor, idleShare*time.Since(began)))
	c.last.Store(&known)
	return known
}

// refresh reads the tables, apart from the collector: a slow database must not stop the clock.
func (d *Dashboard) refresh(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		d.open.get(ctx)
		d.stock.get(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

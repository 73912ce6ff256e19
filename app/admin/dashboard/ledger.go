package dashboard

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"cartwheel/checkout"
)

// openRows is how many open checkouts are shown.
const openRows = 25

// openCheckouts are what was read of the journal.
type openCheckouts struct {
	Checkouts []checkout.Entry
	More      bool // there are more than these
	At        time.Time
	Failed    bool // they could not be read again; these are the last that could

	stale time.Time // when they are to be read again
}

// A ledger reads the open checkouts, one reader at a time, and remembers them for a while.
type ledger struct {
	shop shop
	turn sync.Mutex // held by whoever reads
	last atomic.Pointer[openCheckouts]
}

// look returns what was read last; the zero value before that.
func (l *ledger) look() openCheckouts {
	if last := l.last.Load(); last != nil {
		return *last
	}
	return openCheckouts{}
}

// refresh reads the open checkouts, unless that was done a moment ago.
func (l *ledger) refresh(ctx context.Context) {
	l.turn.Lock()
	defer l.turn.Unlock()
	known := l.look()
	if time.Now().Before(known.stale) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	began := time.Now()
	open, err := l.shop.OpenCheckouts(ctx, openRows+1)
	took := time.Since(began)
	if err != nil {
		known.Failed = true
	} else {
		known = openCheckouts{Checkouts: open[:min(len(open), openRows)], More: len(open) > openRows, At: began}
	}
	known.stale = began.Add(max(lookEvery/2, idleShare*took))
	l.last.Store(&known)
}

// refresh reads what is in the database, apart from the collector: a slow database must not stop
// the clock.
func (d *Dashboard) refresh(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		d.ledger.refresh(ctx)
		d.shelf.look(ctx, "")
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

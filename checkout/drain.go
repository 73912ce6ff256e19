package checkout

import (
	"context"
	"errors"
	"time"

	"cartwheel/database"
)

const (
	// drainPoll is the interval at which Drain looks whether the last checkout has ended.
	drainPoll = 10 * time.Millisecond
	// expireTimeout is the maximum time for expiring the leases of unfinished checkouts.
	expireTimeout = 3 * time.Second
)

// Drain refuses new checkouts and waits for those in flight. When ctx ends first, it leaves the
// others unfinished: their callers get ErrPending, and their leases are expired, so that another
// instance or the next run recovers them at once. It returns the number of unfinished checkouts. A
// repeat is harmless.
func (m *Manager) Drain(ctx context.Context) (unfinished int) {
	m.mu.Lock()
	m.draining.Store(true) // nothing is admitted after this
	m.mu.Unlock()
	for m.inFlight.Load() > 0 && sleep(ctx, drainPoll) {
	}
	// Recoveries under way stay unfinished as well.
	m.stopBackground()
	m.backgroundTasks.Wait()
	m.cancelOwners()
	m.owners.Wait()

	m.mu.Lock()
	claims := m.unfinished
	m.unfinished = nil
	m.mu.Unlock()
	if len(claims) == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), expireTimeout)
	defer cancel()
	if err := m.db.Transact(ctx, func(tx *database.Tx) error { return expireLeases(ctx, tx, claims) }, nil); err != nil {
		m.log.Warn("could not expire the leases of unfinished checkouts: they expire by themselves", "error", err)
	}
	return len(claims)
}

// Close drains, then closes the queues in the order of the flow; ctx bounds all of it. A repeat is
// harmless.
func (m *Manager) Close(ctx context.Context) error {
	m.Drain(ctx)
	return errors.Join(m.reserves.Close(ctx), m.settles.Close(ctx))
}

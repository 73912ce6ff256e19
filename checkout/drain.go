package checkout

import (
	"context"
	"errors"
	"time"

	"cartwheel/database"
)

const (
	// drainPoll is how often Drain looks whether the last checkout has ended.
	drainPoll = 10 * time.Millisecond
	// leaveTimeout bounds how long the leases of what is left are expired for.
	leaveTimeout = 3 * time.Second
)

// Drain refuses new checkouts and waits for those in flight. When ctx ends first, it leaves the others: their callers
// are answered ErrPending, and their leases expired, so that another instance, or the next run, recovers them at
// once. It returns how many those are. A repeat is harmless.
func (m *Manager) Drain(ctx context.Context) (left int) {
	m.mu.Lock()
	m.draining.Store(true) // nothing is admitted after this
	m.mu.Unlock()
	for m.inFlight.Load() > 0 && sleep(ctx, drainPoll) {
	}
	// What is recovered under way is left as well: it was nobody's before.
	m.stopBackground()
	m.backgrounds.Wait()
	m.abandon()
	m.owners.Wait()

	m.mu.Lock()
	orphans := m.left
	m.left = nil
	m.mu.Unlock()
	if len(orphans) == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := m.db.Transact(ctx, func(tx *database.Tx) error { return expire(ctx, tx, orphans) }, nil); err != nil {
		m.log.Warn("could not end the leases of what is left: they expire by themselves", "error", err)
	}
	return len(orphans)
}

// Close drains, then closes the queues in the order of the flow; ctx bounds all of it. A repeat is harmless.
func (m *Manager) Close(ctx context.Context) error {
	m.Drain(ctx)
	return errors.Join(m.reserves.Close(ctx), m.settles.Close(ctx))
}

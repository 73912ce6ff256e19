package checkout

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"cartwheel/database"
)

const (
	// maxRecovering is the maximum of checkouts that one instance recovers at once.
	maxRecovering = 256
	// sweepEvery is the maximum interval between two searches for expired leases. With the lease it
	// limits how long a checkout waits for another instance.
	sweepEvery = 500 * time.Millisecond
	// awaitPoll is the interval at which the journal is read for checkouts that another owner
	// finishes.
	awaitPoll = 100 * time.Millisecond
	// countOpenEvery is the interval at which the open checkouts are counted.
	countOpenEvery = 5 * time.Second
	// maxOpenCounted is the maximum of open checkouts that are counted.
	maxOpenCounted = 10_000
)

// Start begins to recover: it claims the checkouts whose leases have expired, here or on another
// instance, and finishes them. On the embedded engine, which has no other instance, every lease is
// expired at once. It blocks for one statement; recovery goes on in the background until Close.
func (m *Manager) Start(ctx context.Context) error {
	if m.db.Embedded() {
		var open int64
		err := m.db.Transact(ctx, func(tx *database.Tx) (err error) {
			open, err = expireAllLeases(ctx, tx)
			return err
		}, nil)
		if err != nil {
			return err
		}
		if open > 0 {
			m.log.Info("recovering the checkouts that the last run left open", "checkouts", open)
		}
	}
	m.backgroundTasks.Go(m.sweep)
	if m.config.ObserveOpen != nil {
		m.backgroundTasks.Go(m.measureOpen)
	}
	return nil
}

// sweep claims expired checkouts and recovers each in a goroutine of its own.
func (m *Manager) sweep() {
	for m.backgroundCtx.Err() == nil {
		claimed, err := m.sweepOnce(m.backgroundCtx)
		if err != nil && m.backgroundCtx.Err() == nil {
			m.log.Warn("could not look for expired checkouts", "error", err)
		}
		if claimed == 0 || err != nil {
			sleep(m.backgroundCtx, sweepEvery/2+rand.N(sweepEvery/2)) // instances must not sweep in step
		}
	}
}

// sweepOnce claims expired checkouts, at most one per unused recovery slot, and returns their
// number.
func (m *Manager) sweepOnce(ctx context.Context) (claimed int, err error) {
	if m.recoverySlots.Acquire(ctx, 1) != nil {
		return 0, nil
	}
	slots := 1
	for slots < maxRecovering && m.recoverySlots.TryAcquire(1) {
		slots++
	}
	defer func() { m.recoverySlots.Release(int64(slots - claimed)) }()
	found, err := database.Query(ctx, m.db.Read, func(tx *database.Tx) ([]Entry, error) { return expiredEntries(ctx, tx, slots) })
	found = slices.DeleteFunc(found, func(e Entry) bool {
		if e.Damage != nil { // for a person: it must not keep the others from being recovered
			m.log.Warn("an open checkout cannot be recovered", "error", e.Damage)
		}
		return e.Damage != nil
	})
	if err != nil || len(found) == 0 {
		return 0, err
	}
	ids := idsOf(found)
	slices.Sort(ids)
	until := time.Now().Add(m.config.Lease)
	got, err := m.claimAll(ctx, ids)
	for _, entry := range got {
		claimed++
		c := claimOf(entry, until)
		c.epoch++
		m.owners.Go(func() {
			defer m.recoverySlots.Release(1)
			m.recoverOne(c)
		})
	}
	return claimed, err
}

// claimAll claims those of the checkouts that no other instance claims first. When the answer to
// its COMMIT is lost, nothing tells its claims from another instance's: they are left to expire.
func (m *Manager) claimAll(ctx context.Context, ids []string) (got []Entry, err error) {
	err = m.db.Transact(ctx, func(tx *database.Tx) error {
		got, err = claimExpired(ctx, tx, ids, m.config.Lease)
		if err == nil && len(got) == 0 {
			err = database.ErrNothingToWrite
		}
		return err
	}, nil)
	if err != nil {
		got = nil
	}
	return got, err
}

// recoverOne finishes a checkout that this instance has claimed, as far as the gateway lets it.
func (m *Manager) recoverOne(c *claim) {
	ctx, cancel := context.WithDeadline(m.ownerCtx, c.until)
	defer cancel()
	end, err := m.resume(ctx, c)
	if err != nil {
		end.state = c.state
	}
	if m.config.ObserveRecovery != nil {
		m.config.ObserveRecovery(end.state)
	}
	if err != nil {
		m.noteIfDraining(c) // its lease expires, and the sweeper claims it again
		m.log.Warn("a checkout could not be recovered yet", "checkout", c.id, "state", c.state, "error", err)
		return
	}
	m.log.Info("recovered a checkout", "checkout", c.id, "state", end.state, "reason", end.reason)
}

// resume goes on from the state in which a checkout was found.
func (m *Manager) resume(ctx context.Context, c *claim) (journalResult, error) {
	if c.state == Refunding || c.state == Cancelling {
		return m.refund(ctx, c)
	}
	return m.resolvePayment(ctx, c)
}

// noteIfDraining notes a claim that its owner abandoned because this instance drains: Drain expires
// its lease. Otherwise it does nothing, and the lease expires by itself.
func (m *Manager) noteIfDraining(c *claim) {
	if m.ownerCtx.Err() == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unfinished = append(m.unfinished, c)
}

// errStoppedWaiting means that the end of a checkout is not waited for any more: this instance
// drains, the caller's time is over, or too many wait. Another owner ends the checkout.
var errStoppedWaiting = errors.New("the checkout is left to another owner")

// awaitRepeat waits, for a repeat, until the owner of a checkout has settled it, ctx ends or this
// instance drains. Beyond the limit of repeats that wait it returns errStoppedWaiting at once.
func (m *Manager) awaitRepeat(ctx context.Context, checkoutID string) (journalResult, error) {
	defer m.waitingRepeats.Add(-1)
	if m.waitingRepeats.Add(1) > int64(m.config.InFlight) {
		return journalResult{}, errStoppedWaiting
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.ownerCtx, cancel)()
	return m.awaitEnd(ctx, checkoutID)
}

// awaitEnd waits until pollEnds finds a checkout settled, or ctx ends. Its errors are ErrNotFound
// and errStoppedWaiting.
func (m *Manager) awaitEnd(ctx context.Context, checkoutID string) (journalResult, error) {
	end := make(chan journalResult, 1)
	m.mu.Lock()
	m.endWaiters[end] = checkoutID
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.endWaiters, end)
		m.mu.Unlock()
	}()
	select {
	case s := <-end:
		if !s.state.Settled() {
			return s, ErrNotFound // its row was deleted
		}
		return s, nil
	case <-ctx.Done():
		return journalResult{}, errStoppedWaiting
	}
}

// pollEnds reads the results of all calls of awaitEnd from the journal, in one batch, and ends the
// calls whose checkouts are settled.
func (m *Manager) pollEnds() {
	for sleep(m.backgroundCtx, awaitPoll) {
		m.mu.Lock()
		ids := slices.Compact(slices.Sorted(maps.Values(m.endWaiters)))
		m.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		results, err := database.Query(m.backgroundCtx, m.db.Read, func(tx *database.Tx) (map[string]journalResult, error) {
			return resultsByID(m.backgroundCtx, tx, ids)
		})
		if err != nil {
			continue // the database may come back
		}
		m.mu.Lock()
		for end, id := range m.endWaiters {
			_, asked := slices.BinarySearch(ids, id)
			if result, found := results[id]; asked && (!found || result.state.Settled()) {
				delete(m.endWaiters, end)
				end <- result
			}
		}
		m.mu.Unlock()
	}
}

// OpenLevels are the open checkouts of all instances, up to maxOpenCounted.
type OpenLevels struct {
	Count  map[State]int // the states that there are
	Oldest time.Duration // age of the oldest; 0: there is none
}

// measureOpen tells ObserveOpen of the open checkouts, apart from the sweeper, which waits while
// the payment service hangs.
func (m *Manager) measureOpen() {
	for sleep(m.backgroundCtx, countOpenEvery) {
		levels, err := database.Query(m.backgroundCtx, m.db.Read, func(tx *database.Tx) (OpenLevels, error) {
			return openLevels(m.backgroundCtx, tx, maxOpenCounted)
		})
		if err == nil { // otherwise the database may come back
			m.config.ObserveOpen(levels)
		}
	}
}

// sleep reports whether ctx goes on after the pause.
func sleep(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}

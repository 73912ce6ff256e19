package checkout

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/queue"
)

// Workers is how many workers each queue has.
const Workers = workers

// Reservations are checkouts between TX 1 and TX 2.
type Reservations []*claim

// ReserveBatch checks the clients out as one batch of the worker, up to the payment.
func (m *Manager) ReserveBatch(ctx context.Context, clientIDs ...string) (Reservations, error) {
	jobs, answers := make([]reserveJob, len(clientIDs)), make([]queue.Answer[*claim], len(clientIDs))
	for i, id := range clientIDs {
		jobs[i] = reserveJob{cart.Purchase{ClientID: id}, time.Now()}
	}
	if err := m.reserve(ctx, jobs, answers); err != nil {
		return nil, err
	}
	var reserved Reservations
	for _, answer := range answers {
		if answer.Err != nil {
			return nil, answer.Err
		}
		reserved = append(reserved, answer.Value)
	}
	return reserved, nil
}

// Jobs are checkouts before TX 1.
type Jobs []reserveJob

// Admit returns the clients' checkouts in the order of their admission.
func (m *Manager) Admit(clientIDs ...string) (jobs Jobs) {
	admitted := time.Now()
	for i, id := range clientIDs {
		jobs = append(jobs, reserveJob{cart.Purchase{ClientID: id}, admitted.Add(time.Duration(i))})
	}
	return jobs
}

// ReserveSome runs the jobs as one batch of the worker, and returns the clients that it served and
// the jobs that it deferred.
func (m *Manager) ReserveSome(ctx context.Context, jobs Jobs) (served []string, deferred Jobs, err error) {
	answers := make([]queue.Answer[*claim], len(jobs))
	if err := m.reserve(ctx, jobs, answers); err != nil {
		return nil, nil, err
	}
	for i, answer := range answers {
		switch {
		case answer.Err == nil:
			served = append(served, jobs[i].ClientID)
		case errors.Is(answer.Err, errDeferred):
			deferred = append(deferred, jobs[i])
		default:
			return nil, nil, answer.Err
		}
	}
	return served, deferred, nil
}

// SellBatch settles checkouts as paid, as one batch of the worker.
func (m *Manager) SellBatch(ctx context.Context, reserved Reservations) error {
	jobs, answers := make([]settleJob, len(reserved)), make([]queue.Answer[journalResult], len(reserved))
	for i, o := range reserved {
		jobs[i] = settleJob{o, Committed, ""}
	}
	if err := m.settle(ctx, jobs, answers); err != nil {
		return err
	}
	for _, answer := range answers {
		switch {
		case answer.Err != nil:
			return answer.Err
		case answer.Value.state != Committed:
			return errors.New("a paid checkout is " + string(answer.Value.state))
		}
	}
	return nil
}

// Claim is what the sweeper does with the checkouts that it found expired.
func (m *Manager) Claim(ctx context.Context, ids []string) ([]Entry, error) {
	return m.claimAll(ctx, ids)
}

// Waiting returns the number of repeats that wait for the answers to their keys.
func (m *Manager) Waiting() int { return int(m.waitingRepeats.Load()) }

// Polled returns the number of checkouts that are polled for those who wait for their ends.
func (m *Manager) Polled() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(slices.Compact(slices.Sorted(maps.Values(m.endWaiters))))
}

// ListOpen reads the first page of a list of open checkouts.
func ListOpen(ctx context.Context, tx *database.Tx, filter Filter) error {
	filter.Open = true
	_, err := (&pager{filter: filter}).next(ctx, tx)
	return err
}

// EventBatch is the maximum number of events that one instance leases at once.
const EventBatch = maxEventsLeased

// LeaseSales leases one batch of the sales that are due.
func LeaseSales(ctx context.Context, tx *database.Tx) error {
	_, err := leaseEvents(ctx, tx, committedEvent, maxEventsLeased, announceLease)
	return err
}

// AnnounceSales delivers one batch of the sales that are due, and reports whether another follows.
func (a *Announcer) AnnounceSales(ctx context.Context) (more bool, err error) {
	return a.announce(ctx, committedEvent)
}

// Announce delivers the events that are due, one batch of each kind.
func (a *Announcer) Announce(ctx context.Context) error {
	for _, kind := range []eventKind{committedEvent, cancelledEvent} {
		if _, err := a.announce(ctx, kind); err != nil {
			return err
		}
	}
	a.measure(ctx)
	return nil
}

// PollResults reads what pollEnds reads. It returns the states.
func PollResults(ctx context.Context, db *database.DB, ids ...string) ([]State, error) {
	return database.Query(ctx, db.Read, func(tx *database.Tx) (states []State, err error) {
		results, err := resultsByID(ctx, tx, ids)
		for _, id := range ids {
			states = append(states, results[id].state)
		}
		return states, err
	})
}

// MaxLineBytes bounds the lines in flight.
const MaxLineBytes = maxLineBytes

// LineBytes is about what the lines in flight take.
func (m *Manager) LineBytes() int64 { return m.lineBytes.Load() }

// AddLineBytes pretends that there are more.
func (m *Manager) AddLineBytes(size int64) { m.lineBytes.Add(size) }

// AwaitFirst waits as a repeat does.
func (m *Manager) AwaitFirst(ctx context.Context, p cart.Purchase, id string) (string, error) {
	return m.awaitFirst(ctx, p, id)
}

package checkout

import (
	"context"
	"errors"
	"time"

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
		jobs[i] = reserveJob{clientID: id, admitted: time.Now()}
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

// SellBatch settles checkouts as paid, as one batch of the worker.
func (m *Manager) SellBatch(ctx context.Context, reserved Reservations) error {
	jobs, answers := make([]settleJob, len(reserved)), make([]queue.Answer[settled], len(reserved))
	for i, o := range reserved {
		jobs[i] = settleJob{o, chargeResult{approved: true}}
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

package cart

import (
	"context"

	"cartwheel/queue"
)

// MaxLockedLines is the most lines that one transaction locks, one cart's excepted.
const MaxLockedLines = maxLockedLines

// AddBatch does additions as one batch of the queue's worker, and returns what each is answered.
func (m *Manager) AddBatch(ctx context.Context, additions ...Addition) ([]error, error) {
	answers := make([]queue.Answer[struct{}], len(additions))
	err := m.addBatch(ctx, additions, answers)
	errs := make([]error, len(answers))
	for i, answer := range answers {
		errs[i] = answer.Err
	}
	return errs, err
}

// Suspected reports whether any of the clients is asked about without waiting.
func (l *Lines) Suspected(clientIDs ...string) bool {
	_, ask := l.locked.Split(clientIDs)
	return len(ask) > 0
}

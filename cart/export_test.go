package cart

import (
	"context"
	"testing"

	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/queue"
)

// MaxLockedLines is the most lines that one transaction locks, one cart's excepted.
const MaxLockedLines = maxLinesPerTx

// AddBatch does additions as one batch of the queue's worker, and returns what each is answered.
func (m *Manager) AddBatch(ctx context.Context, additions ...LineChange) ([]error, error) {
	changes := make([]Change, len(additions))
	for i, a := range additions {
		changes[i] = change{kind: kindAdd, LineChange: a}
	}
	return m.ApplyBatch(ctx, changes...)
}

// A Change is a job of the queue.
type Change = change

// The changes of each kind.
func Add(a LineChange) Change    { return change{kind: kindAdd, LineChange: a} }
func Update(a LineChange) Change { return change{kind: kindUpdate, LineChange: a} }
func Empty(clientID, key string) Change {
	return change{kind: kindEmpty, LineChange: LineChange{ClientID: clientID, Key: key}}
}
func Merge(from, to, key string) Change {
	return change{kind: kindMerge, LineChange: LineChange{ClientID: to, Key: key}, from: from}
}

// ApplyBatch makes changes as one batch of the queue's worker, and returns what each is answered.
func (m *Manager) ApplyBatch(ctx context.Context, changes ...Change) ([]error, error) {
	answers := make([]queue.Answer[struct{}], len(changes))
	err := m.applyBatch(ctx, changes, answers)
	errs := make([]error, len(answers))
	for i, answer := range answers {
		errs[i] = answer.Err
	}
	return errs, err
}

// Get returns a client's cart as it is committed now. It locks nothing.
func (s *Store) Get(ctx context.Context, tx *database.Tx, clientID string) ([]inventory.Line, error) {
	carts := map[string][]inventory.Line{}
	batch := tx.Batch()
	queryCarts(batch, []string{clientID}, "", carts)
	err := batch.Send(ctx)
	return carts[clientID], err
}

// Suspected reports whether any of the clients is asked about without waiting.
func (s *Store) Suspected(clientIDs ...string) bool {
	_, suspects := s.locked.Split(clientIDs)
	return len(suspects) > 0
}

// Merging returns the number of merges under way. Each has two clients.
func (m *Manager) Merging() int {
	m.merges.mu.Lock()
	defer m.merges.mu.Unlock()
	return len(m.merges.clients) / 2
}

// BeginMerge makes later changes of both clients wait until end is called.
func (m *Manager) BeginMerge(t *testing.T, from, to string) (end func()) {
	t.Helper()
	end, err := m.merges.begin(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

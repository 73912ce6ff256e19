package cart

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"cartwheel/queue"
)

// MergeCarts moves all lines of one client's cart into another's, adding up quantities. It is
// never refused for stock. It follows the earlier changes of both clients and precedes later ones.
// It blocks and fails as AddToCart does, but for the errors of stock; ErrTooManyLines also means
// that a line would have more than MaxQuantity units. The key is toClientID's.
func (m *Manager) MergeCarts(ctx context.Context, fromClientID, toClientID, key string) error {
	merge := change{kind: kindMerge, LineChange: LineChange{ClientID: toClientID, Key: key}, from: fromClientID}
	end, err := m.merges.begin(ctx, fromClientID, toClientID)
	if err != nil {
		return m.answerAfterRefusal(ctx, merge, err)
	}
	defer end()
	// The queue keeps the order of one client's changes; the clients may have different workers.
	if m.db.Dialect().Parallel() > 1 {
		barrier := change{kind: kindBarrier, LineChange: LineChange{ClientID: fromClientID}}
		if _, err := m.changes.Do(ctx, fromClientID, barrier); err != nil {
			return m.answerAfterRefusal(ctx, merge, err)
		}
	}
	return m.submit(ctx, merge)
}

// merges are the merges under way. The later changes of their clients wait until they have ended.
type merges struct {
	mu      sync.Mutex
	clients map[string]chan struct{} // closed at the merge's end; under mu
}

// wait blocks while a merge of the client is under way. Its error says that nothing was done.
func (g *merges) wait(ctx context.Context, clientID string) error {
	err := g.lockWhenEnded(ctx, clientID, clientID)
	if err == nil {
		g.mu.Unlock()
	}
	return err
}

// begin waits as wait does and then makes later changes of both clients wait until end is called.
func (g *merges) begin(ctx context.Context, from, to string) (end func(), err error) {
	if err := g.lockWhenEnded(ctx, from, to); err != nil {
		return nil, err
	}
	defer g.mu.Unlock()
	ended := make(chan struct{})
	g.clients[from], g.clients[to] = ended, ended
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.clients, from)
		delete(g.clients, to)
		close(ended)
	}, nil
}

// lockWhenEnded locks mu once no merge of either client is under way, and returns with mu locked.
// It blocks until then. When ctx ends first, it returns an error and leaves mu unlocked.
func (g *merges) lockWhenEnded(ctx context.Context, from, to string) error {
	for {
		g.mu.Lock()
		ended := cmp.Or(g.clients[from], g.clients[to])
		if ended == nil {
			return nil
		}
		g.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("wait for a merge of the cart: %w: %w", queue.ErrNotStarted, ctx.Err())
		}
	}
}

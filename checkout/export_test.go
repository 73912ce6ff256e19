package checkout

import "context"

// Claim is what the sweeper does with the checkouts that it found expired.
func (m *Manager) Claim(ctx context.Context, ids []string) ([]Entry, error) { return m.claim(ctx, ids) }

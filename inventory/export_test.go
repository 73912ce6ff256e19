package inventory

import (
	"time"

	"cartwheel/database"
)

// NewStock makes a Stock that knows these levels, and these products as taken.
func NewStock(levels map[string]Level, taken ...string) *Stock {
	s := newStock(len(levels))
	for id, level := range levels {
		s.levels[id] = &level
	}
	for _, id := range taken {
		s.locked[id] = true
	}
	return s
}

// WithPatience returns an import that retries a chunk for this long at most.
func (options Import) WithPatience(patience time.Duration) Import {
	options.chunkTimeout = patience
	return options
}

// Suspected reports whether any of the products is asked for without waiting.
func (m *Manager) Suspected(productIDs ...string) bool {
	_, suspects := m.locked.Split(productIDs)
	return len(suspects) > 0
}

// ImportChunk is the most rows that one transaction of an import takes.
const ImportChunk = importChunk

// NewClustered returns a manager that has detected a cluster.
func NewClustered(db *database.DB) *Manager { return &Manager{db: db, clustered: true} }

package checkout

import (
	"context"

	"cartwheel/database"
)

// A Filter says which checkouts to list. The zero Filter lists all.
type Filter struct {
	State    State  // empty: any
	Open     bool   // only those that are not settled
	ClientID string // empty: any
	Limit    int    // 0: no limit
	Oldest   bool   // the oldest first, instead of the newest
}

// List calls use for each checkout, the newest first or as the filter says. It locks nothing.
func List(ctx context.Context, db *database.DB, filter Filter, use func(Entry) error) error {
	return db.Read(ctx, func(tx *database.Tx) error { return eachEntry(ctx, tx, filter, use) })
}

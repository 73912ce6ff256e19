package checkout

import (
	"context"
	"fmt"
	"time"

	"cartwheel/database"
)

// A Filter says which checkouts to list. The zero Filter lists all.
type Filter struct {
	State    State         // empty: any
	Open     bool          // only those that are not settled
	ClientID string        // empty: any
	Since    time.Duration // only those that began so long ago at most; 0: any
	Limit    int           // 0: no limit
	Oldest   bool          // the oldest first, instead of the newest
}

// clockSkew is by how much the clocks of instances and database may differ when checkouts are looked for by time.
const clockSkew = time.Hour

// firstID is below the ID of every checkout that began so long ago at most: IDs are UUIDs of version 7, which begin
// with the milliseconds of the instance's clock.
func firstID(age time.Duration) string {
	at := time.Now().Add(-age - clockSkew).UnixMilli()
	return fmt.Sprintf("%08x-%04x", at>>16, at&0xffff)
}

// List calls use for each checkout, the newest first or as the filter says. It locks nothing.
func List(ctx context.Context, db *database.DB, filter Filter, use func(Entry) error) error {
	return db.Read(ctx, func(tx *database.Tx) error { return eachEntry(ctx, tx, filter, use) })
}

package checkout

import (
	"context"
	"time"

	"cartwheel/database"
)

// paymentMemory is the minimum time for which the payment service remembers a checkout: it may be
// cancelled for as long.
const paymentMemory = 30 * 24 * time.Hour

// MinPruneAge is the minimum age of a checkout that may be pruned. A younger one may be cancelled.
const MinPruneAge = paymentMemory

// Prune deletes the settled checkouts that ended longer ago than age, in small transactions. It
// blocks until all are deleted or ctx ends. A repeat is harmless.
func Prune(ctx context.Context, db *database.DB, age time.Duration) (deleted int64, err error) {
	for after := ""; ; {
		ids, err := database.Query(ctx, db.Read, func(tx *database.Tx) ([]string, error) {
			return settledBefore(ctx, tx, after, age, database.ChunkRows)
		})
		if err != nil || len(ids) == 0 {
			return deleted, err
		}
		after = ids[len(ids)-1]
		var n int64
		if err := db.Transact(ctx, func(tx *database.Tx) (err error) {
			n, err = deleteSettled(ctx, tx, ids)
			return err
		}, func(tx *database.Tx) (bool, error) {
			left, err := entriesByID(ctx, tx, ids, tx.ForUpdate())
			return len(left) == 0, err
		}); err != nil {
			return deleted, err
		}
		deleted += n
	}
}

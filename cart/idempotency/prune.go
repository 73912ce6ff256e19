package idempotency

import (
	"context"
	"log/slog"
	"time"

	"cartwheel/database"
)

const (
	// pruneEvery is the interval between two rounds of pruning.
	pruneEvery = time.Minute
	// pruneRows is the maximum of keys that one transaction prunes.
	pruneRows = database.ChunkRows
	// pruneAge is the minimum age of a key that is pruned. The hour more lets a repeat that begins
	// before Keep has passed find its key.
	pruneAge = Keep + time.Hour
)

// RunPruner deletes answered keys that are older than Keep, in small transactions, until ctx ends.
// It blocks.
func RunPruner(ctx context.Context, db *database.DB, log *slog.Logger) {
	for pause := pruneEvery; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = pruneEvery
		switch pruned, err := pruneOnce(ctx, db); {
		case err != nil && ctx.Err() == nil:
			log.Warn("prune idempotency keys", "error", err)
		case err == nil && pruned == pruneRows:
			pause = 0 // there may be more
		}
	}
}

// pruneOnce prunes the oldest keys and returns how many it found. Keys whose rows are locked are
// left for the next round, so that one locked row does not stop the pruning of the others.
func pruneOnce(ctx context.Context, db *database.DB) (found int, err error) {
	err = db.Transact(ctx, func(tx *database.Tx) error {
		old, err := answeredBefore(ctx, tx, pruneAge, pruneRows)
		found = len(old)
		if err != nil || found == 0 {
			return err
		}
		return remove(ctx, tx, old, pruneAge)
	}, nil)
	return found, err
}

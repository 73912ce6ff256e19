package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
)

// guardTable has a version per product. On a cluster with several nodes transactions that lock the
// same rows on two nodes are not certified against each other; those that write the same row are.
const guardTable = "product_guard"

// addGuardsWith returns the migration that adds the table of versions, and the journal's indexes
// for lists. The server commits each statement by itself; each may run again after a crash.
func addGuardsWith(log *slog.Logger) func(context.Context, *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `
			CREATE TABLE IF NOT EXISTS product_guard (
				product_id varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
				version    bigint NOT NULL,
				PRIMARY KEY (product_id)
			) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`); err != nil {
			return fmt.Errorf("create %s: %w", guardTable, err)
		}
		for name, columns := range map[string][]string{
			"checkout_journal_state":     {"state", "checkout_id"},
			"checkout_journal_client_id": {"client_id", "checkout_id"},
		} {
			if err := addIndex(ctx, tx, log, "checkout_journal", name, columns); err != nil {
				return fmt.Errorf("add the index %s: %w", name, err)
			}
		}
		return nil
	}
}

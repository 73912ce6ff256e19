package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
)

// addStorefrontWith returns the migration that adds the checkouts' references, the due times of
// their events, and the headers of stored answers. See sqlite/00004_storefront.sql. The server
// commits each statement by itself; each may run again after a crash.
func addStorefrontWith(log *slog.Logger) func(context.Context, *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error {
		for _, added := range []struct{ table, column, definition string }{
			{"checkout_journal", "reference", "varchar(255) CHARACTER SET ascii COLLATE ascii_bin NULL"},
			{"checkout_journal", "committed_event_due_at", "datetime(6) NULL"},
			{"checkout_journal", "cancelled_event_due_at", "datetime(6) NULL"},
			{"idempotency_key", "error_code", "varchar(32) CHARACTER SET ascii COLLATE ascii_bin NULL"},
			{"idempotency_key", "checkout_id", "varchar(36) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL"},
		} {
			have, err := column(ctx, tx, "SELECT LOWER(column_name) FROM information_schema.columns"+
				" WHERE table_schema = database() AND table_name = ?", added.table)
			if err == nil && !slices.Contains(have, added.column) {
				err = alter(ctx, tx, log, added.table, "ADD COLUMN "+added.column+" "+added.definition)
			}
			if err != nil {
				return fmt.Errorf("add %s.%s: %w", added.table, added.column, err)
			}
		}
		for _, event := range []string{"committed_event", "cancelled_event"} {
			if err := addIndex(ctx, tx, log, "checkout_journal", "checkout_journal_"+event, []string{event + "_due_at"}); err != nil {
				return fmt.Errorf("add the index of %s: %w", event, err)
			}
		}
		return nil
	}
}

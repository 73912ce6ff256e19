-- +goose Up

-- The open checkouts of a client alone: settling one deletes its entry instead of moving it.
DROP INDEX checkout_journal_client;
CREATE INDEX checkout_journal_client ON checkout_journal (client_id, lease_expires_at) WHERE lease_expires_at IS NOT NULL;

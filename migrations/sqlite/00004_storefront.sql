-- +goose Up

-- The shop's reference of a checkout, and when each of its events is due. An event that is delivered, or that nobody
-- asked for, has no due time.
ALTER TABLE checkout_journal ADD COLUMN reference varchar(255) NULL;
ALTER TABLE checkout_journal ADD COLUMN committed_event_due_at datetime NULL;
ALTER TABLE checkout_journal ADD COLUMN cancelled_event_due_at datetime NULL;
CREATE INDEX checkout_journal_committed_event ON checkout_journal (committed_event_due_at) WHERE committed_event_due_at IS NOT NULL;
CREATE INDEX checkout_journal_cancelled_event ON checkout_journal (cancelled_event_due_at) WHERE cancelled_event_due_at IS NOT NULL;

-- The headers of a stored answer.
ALTER TABLE idempotency_key ADD COLUMN error_code varchar(32) NULL;
ALTER TABLE idempotency_key ADD COLUMN checkout_id varchar(36) NULL;

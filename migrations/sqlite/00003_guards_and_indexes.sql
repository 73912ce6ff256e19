-- +goose Up

-- A version per product, for clusters; the embedded engine never writes it.
CREATE TABLE product_guard (
    product_id varchar(100) NOT NULL PRIMARY KEY,
    version    bigint NOT NULL
) WITHOUT ROWID;

-- Lists of one state or of one client, newest first, read no other row.
CREATE INDEX checkout_journal_state ON checkout_journal (state, checkout_id);
CREATE INDEX checkout_journal_client_id ON checkout_journal (client_id, checkout_id);

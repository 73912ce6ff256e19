-- +goose Up

-- The declared lengths bind nobody here, and text compares byte by byte (BINARY). Times are text in UTC, as
-- strftime('%Y-%m-%d %H:%M:%f', 'now') writes them: they sort as they are.

CREATE TABLE client_cart (
    client_id  varchar(100) NOT NULL,
    product_id varchar(100) NOT NULL,
    quantity   int NULL CHECK (quantity >= 0),
    PRIMARY KEY (client_id, product_id)
) WITHOUT ROWID;

CREATE TABLE product_details (
    product_id   varchar(100) NOT NULL PRIMARY KEY,
    product_name varchar(100) NULL,
    quantity     int NULL CHECK (quantity >= 0)
) WITHOUT ROWID;

CREATE TABLE reserve_purchase (
    reserve_id varchar(100) NOT NULL PRIMARY KEY,
    product_id varchar(100) NULL,
    quantity   int NULL
) WITHOUT ROWID;

CREATE INDEX reserve_purchase_held ON reserve_purchase (product_id, quantity);

-- lease_expires_at is NULL once a checkout is settled, so that its index finds the open ones alone.
CREATE TABLE checkout_journal (
    checkout_id      varchar(36) NOT NULL PRIMARY KEY,
    client_id        varchar(100) NOT NULL,
    state            varchar(16) NOT NULL,
    epoch            int NOT NULL,
    lease_expires_at datetime NULL,
    items            text NOT NULL,
    reason           varchar(500) NULL,
    idempotency_key  varchar(255) NULL,
    created_at       datetime NOT NULL,
    updated_at       datetime NOT NULL
);

CREATE INDEX checkout_journal_lease ON checkout_journal (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX checkout_journal_client ON checkout_journal (client_id, lease_expires_at);

CREATE TABLE idempotency_key (
    client_id       varchar(100) NOT NULL,
    endpoint        varchar(32) NOT NULL,
    idempotency_key varchar(255) NOT NULL,
    request_hash    blob NOT NULL,
    http_status     int NULL,
    body            text NULL,
    created_at      datetime NOT NULL,
    PRIMARY KEY (client_id, endpoint, idempotency_key)
) WITHOUT ROWID;

CREATE INDEX idempotency_key_created ON idempotency_key (created_at);

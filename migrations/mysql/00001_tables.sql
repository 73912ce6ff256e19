-- +goose NO TRANSACTION
-- +goose Up

-- Every statement may run again: MySQL and MariaDB commit each by itself, so a crash may come between any two.
-- The three shop tables may be there already, from the system that Cartwheel replaces: the next migration makes
-- them what they are here. It also adds CHECK (quantity >= 0) to client_cart and product_details, new or old,
-- because a CHECK's name is unique in a whole MySQL database, and IF NOT EXISTS speaks of the table's name alone.

CREATE TABLE IF NOT EXISTS client_cart (
    client_id  varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    product_id varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    quantity   int NULL,
    PRIMARY KEY (client_id, product_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS product_details (
    product_id   varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    product_name varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    quantity     int NULL,
    PRIMARY KEY (product_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS reserve_purchase (
    reserve_id varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    product_id varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    quantity   int NULL,
    PRIMARY KEY (reserve_id),
    KEY reserve_purchase_held (product_id, quantity)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- lease_expires_at is NULL once a checkout is settled, so that its index finds the open ones alone.
CREATE TABLE IF NOT EXISTS checkout_journal (
    checkout_id      varchar(36)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    client_id        varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    state            varchar(16)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    epoch            int          NOT NULL,
    lease_expires_at datetime(6)  NULL,
    items            mediumtext   CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    reason           varchar(500) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    idempotency_key  varchar(255) CHARACTER SET ascii   COLLATE ascii_bin   NULL,
    created_at       datetime(6)  NOT NULL,
    updated_at       datetime(6)  NOT NULL,
    PRIMARY KEY (checkout_id),
    KEY lease_expires_at (lease_expires_at),
    KEY client_id (client_id, lease_expires_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS idempotency_key (
    client_id       varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    endpoint        varchar(32)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    idempotency_key varchar(255) CHARACTER SET ascii   COLLATE ascii_bin   NOT NULL,
    request_hash    binary(32)   NOT NULL,
    http_status     int          NULL,
    body            mediumtext   CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    created_at      datetime(6)  NOT NULL,
    PRIMARY KEY (client_id, endpoint, idempotency_key),
    KEY created_at (created_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

package migrations_test

import (
	"errors"
	"strings"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/migrations"
)

// wantRefused asserts that a start on the database is refused, and that the error says so.
func wantRefused(t *testing.T, db *database.DB, want string) {
	t.Helper()
	if _, err := migrations.Up(t.Context(), db, databasetest.Log(t)); !errors.Is(err, migrations.ErrChanged) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %v with %q", err, migrations.ErrChanged, want)
	}
}

func TestVerify_namesWhatWasChangedOnAServer(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		for _, test := range []struct{ change, want, undo string }{
			{
				"ALTER TABLE client_cart CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
				"client_cart.client_id compares as utf8mb4_general_ci, not utf8mb4_bin (look for keys that become equal first): ALTER TABLE client_cart CONVERT TO",
				"ALTER TABLE client_cart CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
			},
			{
				"ALTER TABLE product_details MODIFY product_name varchar(100) CHARACTER SET latin1",
				"product_details.product_name compares as latin1_swedish_ci",
				"ALTER TABLE product_details MODIFY product_name varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
			},
			{
				"CREATE TRIGGER lower_stock AFTER INSERT ON reserve_purchase FOR EACH ROW UPDATE product_details SET quantity = quantity - NEW.quantity WHERE product_id = NEW.product_id",
				"the trigger lower_stock on reserve_purchase: DROP TRIGGER lower_stock",
				"DROP TRIGGER lower_stock",
			},
			{
				"CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM client_cart",
				"nightly names client_cart: ALTER EVENT",
				"DROP EVENT nightly",
			},
			{
				"ALTER TABLE reserve_purchase DROP INDEX reserve_purchase_held",
				"reserve_purchase has no index on (product_id, quantity): ALTER TABLE reserve_purchase ADD INDEX reserve_purchase_held",
				"CREATE INDEX another_name ON reserve_purchase (product_id, quantity)",
			},
			{
				"CREATE UNIQUE INDEX names ON product_details (product_name)",
				"product_details has the unique index names (product_name): drop it",
				"DROP INDEX names ON product_details",
			},
			{
				"ALTER TABLE product_details DROP CONSTRAINT product_details_quantity_check",
				"product_details has no CHECK (quantity >= 0)",
				"ALTER TABLE product_details ADD CONSTRAINT mine CHECK (quantity >= 0)",
			},
			{
				"ALTER TABLE client_cart ADD CONSTRAINT few CHECK (quantity < 10)",
				"client_cart has another CHECK (quantity<10): drop it",
				"ALTER TABLE client_cart DROP CONSTRAINT few",
			},
			{
				"ALTER TABLE checkout_journal MODIFY reason varchar(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
				"checkout_journal.reason is varchar(50), not varchar(500)",
				"ALTER TABLE checkout_journal MODIFY reason varchar(600) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
			},
			{
				"ALTER TABLE idempotency_key MODIFY created_at datetime NOT NULL",
				"idempotency_key.created_at is datetime, not datetime(6)",
				"ALTER TABLE idempotency_key MODIFY created_at datetime(6) NOT NULL",
			},
			{
				"ALTER TABLE client_cart MODIFY quantity int NOT NULL",
				"client_cart.quantity does not accept NULL",
				"ALTER TABLE client_cart MODIFY quantity int NULL",
			},
			{
				"ALTER TABLE client_cart ADD price int NOT NULL",
				"client_cart.price must be filled by each INSERT",
				"ALTER TABLE client_cart DROP price",
			},
			{
				"ALTER TABLE product_guard ENGINE = MyISAM",
				"product_guard is stored in MyISAM: ALTER TABLE product_guard ENGINE = InnoDB",
				"ALTER TABLE product_guard ENGINE = InnoDB",
			},
			{
				"ALTER TABLE client_cart DROP PRIMARY KEY, ADD PRIMARY KEY (product_id, client_id)",
				"client_cart has the primary key (product_id, client_id), not (client_id, product_id)",
				"ALTER TABLE client_cart DROP PRIMARY KEY, ADD PRIMARY KEY (client_id, product_id)",
			},
			{
				"CREATE TABLE review (product_id varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, CONSTRAINT of_product FOREIGN KEY (product_id) REFERENCES product_details (product_id) ON DELETE CASCADE) ENGINE = InnoDB",
				"the foreign key of_product from",
				"DROP TABLE review",
			},
			{"DROP TABLE product_guard", "the table product_guard is gone", "CREATE TABLE product_guard LIKE client_cart"},
		} {
			run(t, db, test.change)
			wantRefused(t, db, test.want)
			run(t, db, test.undo)
			if !strings.HasPrefix(test.change, "DROP TABLE") {
				up(t, db)
			}
		}
	})
}

func TestVerify_acceptsMoreColumnsAndIndexes(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		run(t, db,
			"CREATE INDEX by_name ON product_details (product_name)",
			"CREATE INDEX by_product ON client_cart (product_id)",
			"ALTER TABLE checkout_journal ADD note varchar(255) NULL",
			"ALTER TABLE product_details ADD price int NOT NULL DEFAULT 0")
		if applied := up(t, db); applied != 0 {
			t.Errorf("applied %d", applied)
		}
	})
}

func TestVerify_namesWhatWasChangedInTheFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		changes []string
		want    string
	}{
		{[]string{"CREATE TRIGGER lower_stock AFTER INSERT ON reserve_purchase BEGIN UPDATE product_details SET quantity = 0; END"}, "DROP TRIGGER lower_stock"},
		{[]string{"DROP INDEX reserve_purchase_held"}, "reserve_purchase has no index on (product_id, quantity)"},
		{[]string{"DROP INDEX reserve_purchase_held", "CREATE INDEX reserve_purchase_held ON reserve_purchase (product_id COLLATE NOCASE, quantity)"}, "reserve_purchase has no index"},
		{[]string{"CREATE UNIQUE INDEX names ON product_details (product_name)"}, "unique index names"},
		{[]string{"DROP TABLE client_cart"}, "the table client_cart is gone"},
		{[]string{"DROP TABLE client_cart", "CREATE TABLE client_cart (client_id varchar(100) COLLATE NOCASE NOT NULL, product_id varchar(100) NOT NULL, quantity int CHECK (quantity >= 0), PRIMARY KEY (client_id, product_id))"}, "client_cart has the primary key (client_id collate NOCASE, product_id)"},
		{[]string{"DROP TABLE client_cart", "CREATE TABLE client_cart (client_id varchar(100) NOT NULL, product_id varchar(100) NOT NULL, quantity int, PRIMARY KEY (client_id, product_id))"}, "client_cart has no CHECK (quantity >= 0)"},
		{[]string{"ALTER TABLE checkout_journal DROP COLUMN reason"}, "checkout_journal.reason is missing"},
	} {
		db := databasetest.Embedded(t)
		run(t, db, test.changes...)
		wantRefused(t, db, test.want)
	}
}

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"vitess.io/vitess/go/vt/sqlparser"

	"cartwheel/database/databasetest"
)

// oldTables are as the system had them that Cartwheel replaces, with what its faults left behind.
var oldTables = []string{
	"CREATE TABLE client_cart (client_id varchar(100), product_id varchar(100), quantity int, PRIMARY KEY (client_id, product_id)) COLLATE utf8mb4_general_ci",
	"CREATE TABLE product_details (product_id varchar(100), product_name varchar(100), quantity int, PRIMARY KEY (product_id)) COLLATE utf8mb4_general_ci",
	"CREATE TABLE reserve_purchase (reserve_id varchar(100), product_id varchar(100), quantity int, PRIMARY KEY (reserve_id)) COLLATE utf8mb4_general_ci",
	"INSERT INTO client_cart VALUES ('ann', 'Lamp', 1), ('bob', 'lamp', -1)",
	"INSERT INTO product_details VALUES ('lamp', 'Lamp', 5), ('gone', 'Gone', -5)",
	"INSERT INTO reserve_purchase VALUES ('token', 'lamp', 2)",
}

// No MySQL 8 is run here. A MariaDB that calls itself one is sent what MySQL 8 would be sent, and shows that it does what it
// should; a parser of MySQL 8's grammar takes each statement.
func TestWhatMySQL8WouldBeSentKeepsThePromisesAndIsInItsGrammar(t *testing.T) {
	t.Parallel()
	server := newShopServer(t, databasetest.AsMySQL8Option, "--log-output=TABLE")
	server.exec(t, "SET GLOBAL general_log = 1")

	c := newCampaign(t, server.store(t, "shop"), crowdedStock())
	c.underLoad(func(ctx context.Context, shop *instance) {
		pause(ctx, campaignLength(time.Second, time.Minute))
		release := lock(t, c.store, "SELECT * FROM product_details WHERE product_id = 'plenty' FOR UPDATE")
		pause(ctx, 3*time.Second) // longer than a lock is waited for: the batch runs again
		release()
		c.kill(shop)
		c.crowd.visits(c.start(impatientFlags...)) // which recovers what the other left
		c.sells(5 * time.Second)
	})
	for _, args := range [][]string{
		{"stock", "list"}, {"stock", "list", "--json"}, {"cart", "show", "client-1-1"}, {"checkouts", "list"}, {"migrate", "status"}, {"audit", "--repair"},
	} {
		if out, errs, status := run(t, c.store, nil, args...); status != 0 {
			t.Errorf("%v: status %d\n%s%s", args, status, out, errs)
		}
	}
	again := strings.NewReader("product_id,product_name,quantity\nplenty,Plenty,5\nscarce,,0\nnew,New,1\n")
	if out, errs, status := run(t, c.store, again, "stock", "import", "--add", "-"); status != 0 {
		t.Errorf("stock import --add: status %d\n%s%s", status, out, errs)
	}

	old := server.store(t, "old")
	for _, statement := range oldTables {
		if _, err := openSQL(t, old.config.MySQLDSN).ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if out, errs, status := run(t, old, nil, "migrate", "up"); status != 0 {
		t.Errorf("adopt the old tables: status %d\n%s%s", status, out, errs)
	}

	from, to := embeddedStore(t), server.store(t, "moved")
	from.stock(t, map[string]int{"lamp": 5})
	both := store{flags: append(append([]string{}, from.flags...), to.flags...)}
	if out, errs, status := run(t, both, nil, "migrate", "move"); status != 0 {
		t.Errorf("migrate move: status %d\n%s%s", status, out, errs)
	}

	server.exec(t, "SET GLOBAL general_log = 0")
	inGrammar(t, server)
}

// inGrammar parses all that the shop has sent to the server.
func inGrammar(t *testing.T, server shopServer) {
	t.Helper()
	parser, err := sqlparser.New(sqlparser.Options{MySQLServerVersion: strings.TrimPrefix(databasetest.AsMySQL8Option, "--version=")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.ParseStrictDDL("INSERT INTO t (a) VALUES (1) RETURNING a"); err == nil {
		t.Fatal("the parser takes what MySQL 8 does not")
	}
	rows, err := server.admin.QueryContext(t.Context(), "SELECT DISTINCT argument FROM mysql.general_log"+
		" WHERE user_host LIKE 'shop[%' AND command_type IN ('Query', 'Prepare')")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}()
	// That these are among them shows that the log has what was sent.
	missing := []string{"INSERT INTO client_cart", "ON DUPLICATE KEY UPDATE", "STRAIGHT_JOIN", "DELETE t FROM", "FOR UPDATE SKIP LOCKED", "FOR UPDATE NOWAIT",
		"epoch = epoch + 1", "WITH CONSISTENT SNAPSHOT", "CHECK (quantity >= 0)", "CONVERT TO CHARACTER SET", "CREATE TABLE IF NOT EXISTS checkout_journal"}
	statements := 0
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		pieces, err := parser.SplitStatementToPieces(text)
		if err != nil {
			t.Errorf("%v: %.300s", err, text)
		}
		for _, statement := range pieces {
			statements++
			if _, err := parser.ParseStrictDDL(statement); err != nil {
				t.Errorf("%v: %.600s", err, statement)
			}
			stillMissing := missing[:0]
			for _, part := range missing {
				if !strings.Contains(statement, part) {
					stillMissing = append(stillMissing, part)
				}
			}
			missing = stillMissing
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(missing) > 0 {
		t.Errorf("among %d statements none has %q", statements, missing)
	}
	t.Logf("%d statements are in the grammar", statements)
}

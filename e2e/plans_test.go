package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

// maxExamined is the maximum number of rows that the planner may expect one step of a statement to
// examine. The tables have many times as many.
const maxExamined = 8_000

// fullReads are the statements that read a whole table, each for a reason.
var fullReads = []string{
	"SUM(on_hand), SUM(reserved)",                                                  // the audit compares all products
	"FROM reserve_purchase ORDER BY reserve_id",                                    // the audit looks for orphans
	"FROM product_details p WHERE p.product_id > '' ORDER BY p.product_id LIMIT",   // a page of the stock list, in key order
	"WHERE checkout_id > '' AND checkout_id < '~' ORDER BY checkout_id DESC LIMIT", // a page of the journal, in key order
	"SELECT product_id FROM product_details LIMIT 1",                               // the first row
	"information_schema", // the server's own catalogue
}

// Each statement that a shop sends is planned again on tables of production size.
func TestPlans_costDoesNotGrowWithTheTables(t *testing.T) {
	t.Parallel()
	onEachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		server := newShopServer(t, flavour, "--log-output=TABLE")
		s := server.store(t, "shop")
		databasetest.Open(t, database.Config{MySQLDSN: s.config.MySQLDSN})
		server.exec(t, "SET GLOBAL general_log = 1")
		sendEveryStatement(t, s)
		server.exec(t, "SET GLOBAL general_log = 0")
		statements := server.sent(t)
		db := openSQL(t, server.TCPDSN("shop"))
		fillTables(t, db)
		for _, statement := range statements {
			explain(t, db, statement)
		}
		t.Logf("%d statements are planned", len(statements))
		if len(statements) < 30 {
			t.Errorf("%d statements were recorded, want at least 30", len(statements))
		}
	})
}

// sendEveryStatement makes instances and commands send what they send to a database.
func sendEveryStatement(t *testing.T, s store) {
	t.Helper()
	c := newChaos(t, s, map[string]int{"plenty": 1_000_000, "scarce": 20})
	hook := startWebhook(t)
	c.shoppers.visits(c.start(append([]string{"--webhook-url", hook.url, "--webhook-secret", webhookSecret}, shortTimeouts...)...))
	ctx, stop := context.WithCancel(t.Context())
	c.shoppers.cancels = true
	wait := c.shoppers.shop(ctx, 16, "plenty", "plenty", "scarce")
	eventually(t, time.Minute, "every kind of answer was given", func() bool {
		return c.shoppers.told("/checkOutCart", 200) > 100 && c.shoppers.told("/checkOutCart", 409) > 0 && c.shoppers.told("/cancelCheckout", 200) > 0
	})
	stop()
	wait()
	c.settle()
	c.check()
	eventually(t, time.Minute, "events are delivered", func() bool {
		delivered, _ := hook.delivered()
		return len(delivered) > 0
	})
	for _, args := range [][]string{
		{"stock", "list", "--json"}, {"cart", "show", "client-1-1"}, {"checkouts", "list"}, {"checkouts", "list", "--state", "refunding"},
		{"events", "replay", "--since", "1h"}, {"migrate", "status"},
	} {
		if out, errs, status := run(t, s, nil, args...); status != 0 {
			t.Errorf("%v: status %d\n%s%s", args, status, out, errs)
		}
	}
}

var literals = regexp.MustCompile(`_binary'(?:[^'\\]|\\.|'')*'|'(?:[^'\\]|\\.|'')*'|\b\d+\b`)

// sent returns one statement of each shape that the shop's user has sent.
func (s shopServer) sent(t *testing.T) (statements []string) {
	t.Helper()
	rows, err := s.admin.QueryContext(t.Context(), `
		SELECT DISTINCT CONVERT(argument USING utf8mb4) FROM mysql.general_log
		WHERE user_host LIKE 'shop[%' AND command_type IN ('Query', 'Execute')`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }() // all is read by then, or the test fails
	explained := regexp.MustCompile(`(?i)^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b`)
	shapes := map[string]bool{}
	for rows.Next() {
		var statement sql.NullString
		if err := rows.Scan(&statement); err != nil {
			t.Fatal(err)
		}
		for _, part := range split(statement.String) {
			shape := literals.ReplaceAllString(part, "?")
			if explained.MatchString(part) && !strings.Contains(part, "\ufffd") && !shapes[shape] {
				shapes[shape] = true
				statements = append(statements, part)
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return statements
}

// split returns the statements that were sent together.
func split(text string) (statements []string) {
	begin, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quoted:
			i++
		case c == '\'':
			quoted = !quoted
		case c == ';' && !quoted:
			statements = append(statements, strings.TrimSpace(text[begin:i]))
			begin = i + 1
		}
	}
	return append(statements, strings.TrimSpace(text[begin:]))
}

// fillTables gives the tables the rows of a large shop that has run for years. One client has half
// of all keys.
func fillTables(t *testing.T, db *sql.DB) {
	t.Helper()
	numbers := `(SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n AS n FROM digits a, digits b, digits c, digits d, digits e) AS numbers`
	for _, statement := range []string{
		"CREATE TABLE digits (n int)",
		"INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)",
		"INSERT INTO product_details SELECT CONCAT('product-', n), 'a product', 100 FROM " + numbers,
		"INSERT INTO client_cart SELECT CONCAT('a-client-', n), CONCAT('product-', n), 1 FROM " + numbers,
		"INSERT INTO reserve_purchase SELECT CONCAT('reservation-', n, ':1'), CONCAT('product-', n), 1 FROM " + numbers,
		// IDs begin with the time, as the product's do. A month has 2,160 checkouts.
		`INSERT INTO checkout_journal (checkout_id, client_id, state, epoch, items, created_at, updated_at)
			SELECT LOWER(CONCAT(LPAD(HEX(ms >> 16), 8, '0'), '-', LPAD(HEX(ms & 65535), 4, '0'), '-7000-8000-', LPAD(n, 12, '0'))),
				CONCAT('a-client-', n DIV 10), 'committed', 1, '[["lamp",1]]', FROM_UNIXTIME(ms / 1000), FROM_UNIXTIME(ms / 1000)
			FROM (SELECT n, CAST((UNIX_TIMESTAMP() - 1200 * n) * 1000 AS UNSIGNED) AS ms FROM ` + numbers + ") AS times",
		`INSERT INTO idempotency_key (client_id, endpoint, idempotency_key, request_hash, http_status, body, created_at)
			SELECT IF(n % 2 = 0, 'many-keys', CONCAT('a-client-', n)), 'addToCart', CONCAT('key-', n), REPEAT('x', 32), 200, '{}', NOW(6) - INTERVAL n SECOND FROM ` + numbers,
		"ANALYZE TABLE client_cart, product_details, reserve_purchase, checkout_journal, idempotency_key",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// explain fails the test when a step of the statement's plan examines more rows than it may.
func explain(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	for _, known := range fullReads {
		if strings.Contains(statement, known) {
			return
		}
	}
	rows, err := db.QueryContext(t.Context(), "EXPLAIN "+statement)
	if err != nil {
		t.Errorf("explain %.600s: %v", statement, err)
		return
	}
	defer func() { _ = rows.Close() }() // all is read by then, or the test fails
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		targets := make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		step := map[string]string{}
		for i, column := range columns {
			step[column] = values[i].String
		}
		if examined, _ := strconv.Atoi(step["rows"]); examined > maxExamined {
			t.Errorf("a step (table %s, type %s, key %s, %s) examines %d rows: %.1500s",
				step["table"], step["type"], step["key"], step["Extra"], examined, fmt.Sprint(statement))
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestMove_killedLeavesNothing(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		const products, units = 60_000, 7
		from, to := embeddedStore(t), s
		both := store{flags: append(append([]string{}, from.flags...), to.flags...)}

		// A shop with many products, that dies while a payment is under way.
		shop := start(t, from, "--demo", "--payment-url", "sandbox:?latency=60s")
		shop.want(t, 200, addition("ann", "mug", 3))
		go shop.send(t.Context(), purchase("ann"))
		eventually(t, soon, "the payment is under way", func() bool { return from.snapshot(t).held["mug"] == 3 })
		shop.kill()
		source := databasetest.Open(t, from.config)
		if _, err := source.Setup().ExecContext(t.Context(), fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO product_details SELECT 'sku-' || i, 'Product ' || i, %d FROM n`, products, units)); err != nil {
			t.Fatal(err)
		}
		if err := source.Close(); err != nil {
			t.Fatal(err)
		}

		// A server that starts on the target at the same time must find nothing, never a part.
		target := databasetest.Open(t, to.config)
		moved := func() (n int64) {
			if err := target.Setup().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM product_details").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		// A row that the copy must write is locked, so that no move ends before it is killed.
		manualSQL := to.manualSQL(t)
		for range 3 {
			release := manualSQL.lock("INSERT INTO product_details (product_id, quantity) VALUES ('sku-9999', 1)")
			move := exec.Command(binary, append([]string{"migrate", "move"}, both.flags...)...)
			move.Env = cleanEnvironment()
			if err := move.Start(); err != nil {
				t.Fatal(err)
			}
			manualSQL.awaitWaiter()
			_ = move.Process.Kill()
			_ = move.Wait() // killed, as it says
			release()
			eventually(t, time.Minute, "the server has rolled the move back", func() bool {
				// InnoDB renews innodb_trx only when nobody has read it for 100 ms.
				if _, err := target.Setup().ExecContext(t.Context(), "DO SLEEP(0.15)"); err != nil {
					t.Fatal(err)
				}
				var transactions int
				if err := target.Setup().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM information_schema.innodb_trx t
					JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
					WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()`).Scan(&transactions); err != nil {
					t.Logf("count the transactions: %v", err) // MySQL fails on another's statement that is not valid UTF-8
					return false
				}
				return transactions == 0
			})
			if n := moved(); n != 0 {
				t.Fatalf("after kill -9 the target has %d products, want 0", n)
			}
		}

		eventually(t, soon, "the move succeeds", func() bool { // the server may still be rolling the last one back
			out, errs, status := run(t, both, nil, "migrate", "move")
			t.Logf("move: status %d\n%s%s", status, out, errs)
			return status == 0 || strings.Contains(errs, database.ErrMoved.Error())
		})
		again := start(t, to)
		eventually(t, soon, "the checkout that was under way is settled", func() bool { return to.snapshot(t).held["mug"] == 0 })
		b := to.snapshot(t)
		if b.carts["ann"]["mug"] != 3 || b.onHand["mug"] != 500 {
			t.Errorf("%d in ann's cart, %d on hand; want 3, 500", b.carts["ann"]["mug"], b.onHand["mug"])
		}
		if n := moved(); n != products+4 {
			t.Errorf("%d products, want %d", n, products+4)
		}
		again.want(t, 200, purchase("ann"))
		if out, errs, status := run(t, to, nil, "audit"); status != 0 {
			t.Errorf("audit: status %d: %s%s", status, out, errs)
		}
	})
}

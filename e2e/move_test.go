package e2e

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestAMoveThatIsKilledLeavesNothingAndTheNextOneMovesEverything(t *testing.T) {
	t.Parallel()
	const products, units = 60_000, 7
	from, to := embeddedStore(t), mysqlStore(t)
	both := store{flags: append(append([]string{}, from.flags...), to.flags...)}

	// A shop with many products, that dies while a payment is under way.
	shop := start(t, from, "--demo", "--payment-url", "sandbox:?latency=60s")
	shop.want(t, 200, addition("ann", "mug", 3))
	go shop.send(t.Context(), purchase("ann"))
	eventually(t, 5*time.Second, "the payment is under way", func() bool { return from.books(t).held["mug"] == 3 })
	shop.kill()
	source := databasetest.Open(t, from.config)
	if _, err := source.Setup().ExecContext(t.Context(), fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO product_details SELECT 'sku-' || i, 'Product ' || i, %d FROM n`, products, units)); err != nil {
		t.Fatal(err)
	}
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}

	// A server that starts on the target meanwhile must find nothing, never a part.
	target := databasetest.Open(t, to.config)
	moved := func() (n int64) {
		if err := target.Setup().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM product_details").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	killed := 0
	for try := range 6 {
		move := exec.Command(binary, append([]string{"migrate", "move"}, both.flags...)...)
		move.Env = cleanEnvironment()
		if err := move.Start(); err != nil {
			t.Fatal(err)
		}
		pause(t.Context(), time.Duration(rand.Int64N(int64(400*time.Millisecond)))+time.Duration(try)*20*time.Millisecond)
		_ = move.Process.Kill()
		_ = move.Wait() // killed, or done before
		if n := moved(); n == products+4 {
			break // it was faster than the kill
		} else if n != 0 {
			t.Fatalf("after kill -9 the target has %d products, want 0 or all", n)
		}
		killed++
	}
	if killed == 0 {
		t.Error("no move was killed before its end: the test tried nothing")
	}

	eventually(t, 20*time.Second, "the move succeeds", func() bool { // the server may still be rolling the last one back
		out, errs, status := run(t, both, nil, "migrate", "move")
		t.Logf("move: status %d\n%s%s", status, out, errs)
		return status == 0 || strings.Contains(errs, database.ErrRetired.Error())
	})
	again := start(t, to)
	eventually(t, 5*time.Second, "the checkout that was under way is settled", func() bool { return to.books(t).held["mug"] == 0 })
	b := to.books(t)
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
}

// An import that is under way while the data moves must not write where nobody reads any more.
func TestAnImportThatRunsWhileTheDataMovesStopsAndSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	from, to := embeddedStore(t), mysqlStore(t)
	both := store{flags: append(append([]string{}, from.flags...), to.flags...)}
	first := start(t, from, "--demo")
	first.stop()

	importing := exec.Command(binary, append([]string{"stock", "import", "-"}, from.flags...)...)
	importing.Env = cleanEnvironment()
	file, err := importing.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	importing.Stdout, importing.Stderr = &said, &said
	if err := importing.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = importing.Wait() // its status is in ProcessState
	}()
	go func() {
		// More than it can take in before the move is over; it breaks off when the import does.
		_, _ = fmt.Fprintln(file, "product_id,product_name,quantity")
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(file, "sku-%d,Product,7\n", i); err != nil {
				return
			}
		}
	}()
	source := databasetest.Open(t, from.config)
	stored := func(db *database.DB) (n int) {
		t.Helper()
		if err := db.Setup().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM product_details WHERE product_id LIKE 'sku-%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, 20*time.Second, "the import is under way", func() bool { return stored(source) > 0 })
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	out, errs, status := run(t, both, nil, "migrate", "move")
	if status != 0 {
		t.Fatalf("move: status %d\n%s%s", status, out, errs)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = importing.Process.Kill()
		<-ended
		t.Fatalf("the import goes on after the move:\n%s", said.String())
	}
	if !strings.Contains(said.String(), database.ErrRetired.Error()) || importing.ProcessState.ExitCode() != 1 {
		t.Errorf("the import ended with status %d:\n%s", importing.ProcessState.ExitCode(), said.String())
	}
	taken, _, _ := strings.Cut(said.String(), " rows: ")
	if got := stored(databasetest.Open(t, to.config)); strings.ReplaceAll(taken, ",", "") != fmt.Sprint(got) {
		t.Errorf("%d products moved, of the %s that the import took", got, taken)
	}
}

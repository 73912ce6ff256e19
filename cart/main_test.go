package cart_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

func TestMain(m *testing.M) { os.Exit(databasetest.Main(m)) }

// present renders an outcome as the edge does, as far as it is stored with a key.
func present(err error) idempotency.Response {
	status := http.StatusInternalServerError
	switch {
	case err == nil:
		return idempotency.Response{Status: http.StatusOK, Body: []byte("done\n")}
	case errors.Is(err, inventory.ErrNoProduct):
		status = http.StatusNotFound
	case errors.Is(err, inventory.ErrNotEnough), errors.Is(err, cart.ErrTooManyLines):
		status = http.StatusConflict
	}
	return idempotency.Response{Status: status, Code: "refused", Body: []byte(err.Error() + "\n")}
}

// newManager starts a Cart Manager, with a stock of its own unless config says otherwise, and ends
// it with the test.
func newManager(t *testing.T, db *database.DB, config ...func(*managerConfig)) *cart.Manager {
	t.Helper()
	c := managerConfig{Config: cart.Config{QueueCapacity: 1024, BatchSize: 256, ResponseTo: present, Log: databasetest.Log(t)}}
	c.stock = inventory.New(db)
	for _, change := range config {
		change(&c)
	}
	m := cart.New(db, &cart.Store{}, c.stock, annBuys{}, c.Config)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := m.Close(ctx); err != nil {
			t.Errorf("close the Cart Manager: %v", err)
		}
	})
	return m
}

// annBuys is a Checkout Manager in which one client's checkout is under way.
type annBuys struct{}

func (annBuys) CheckOut(context.Context, cart.Purchase) (string, error) {
	return "", errors.New("no test of this package checks out")
}

func (annBuys) UnderWay(_ *database.Batch, _ []string, found map[string]bool) { found["ann"] = true }

type managerConfig struct {
	cart.Config
	stock checker
}

// checker is the Inventory Manager, as the Cart Manager sees it.
type checker interface {
	ReadLevels(*database.Batch, []string) *inventory.Stock
	Products(*database.Batch, []string, map[string]inventory.Product)
}

// withInstances runs a test with n Cart Managers on one fresh database of each server engine, as
// instances have it.
func withInstances(t *testing.T, n int, test func(t *testing.T, db *database.DB, managers []*cart.Manager)) {
	t.Helper()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		var db *database.DB
		var managers []*cart.Manager
		for range n {
			db = databasetest.Open(t, database.Config{MySQLDSN: dsn})
			managers = append(managers, newManager(t, db))
		}
		test(t, db, managers)
	})
}

// execute runs one statement, as a person with an SQL prompt may.
func execute(t *testing.T, db *database.DB, statement string, args ...any) {
	t.Helper()
	err := db.Transact(t.Context(), func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), statement, args...)
		return err
	}, nil)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func putProduct(t *testing.T, db *database.DB, productID string, onHand int64) {
	t.Helper()
	execute(t, db, "INSERT INTO product_details (product_id, product_name, quantity) VALUES (?, '', ?)", productID, onHand)
}

func putProducts(t *testing.T, db *database.DB, n int, onHand int64) {
	t.Helper()
	err := db.Transact(t.Context(), func(tx *database.Tx) error {
		for i := range n {
			if _, err := tx.Exec(t.Context(), "INSERT INTO product_details (product_id, product_name, quantity) VALUES (?, '', ?)",
				product(i), onHand); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if err != nil {
		t.Fatalf("store products: %v", err)
	}
}

func product(i int) string { return fmt.Sprintf("p%04d", i) }

// putLine stores a line; quantity may be nil for NULL.
func putLine(t *testing.T, db *database.DB, clientID, productID string, quantity any) {
	t.Helper()
	execute(t, db, "INSERT INTO client_cart (client_id, product_id, quantity) VALUES (?, ?, ?)", clientID, productID, quantity)
}

// putLines stores so many lines of one unit in a cart.
func putLines(t *testing.T, db *database.DB, clientID string, n int) {
	t.Helper()
	lines := make([]cart.ClientLine, n)
	for i := range lines {
		lines[i] = cart.ClientLine{ClientID: clientID, Line: inventory.Line{ProductID: product(i), Quantity: 1}}
	}
	err := db.Transact(t.Context(), func(tx *database.Tx) error {
		return restore(t, tx, lines)
	}, nil)
	if err != nil {
		t.Fatalf("store lines: %v", err)
	}
}

// restore restores lines as a checkout does.
func restore(t *testing.T, tx *database.Tx, lines []cart.ClientLine) error {
	return databasetest.Send(t.Context(), tx, func(b *database.Batch) { new(cart.Store).Restore(b, lines) })
}

// cartOf returns what is in a cart.
func cartOf(t *testing.T, db *database.DB, clientID string) map[string]int64 {
	t.Helper()
	quantities := map[string]int64{}
	err := db.Read(t.Context(), func(tx *database.Tx) error {
		lines, err := new(cart.Store).Get(t.Context(), tx, clientID)
		for _, line := range lines {
			quantities[line.ProductID] = line.Quantity
		}
		return err
	})
	if err != nil {
		t.Fatalf("read the cart: %v", err)
	}
	return quantities
}

func wantCart(t *testing.T, db *database.DB, clientID string, want map[string]int64) {
	t.Helper()
	if diff := cmp.Diff(want, cartOf(t, db, clientID)); diff != "" {
		t.Errorf("cart of %s (-want +got):\n%s", clientID, diff)
	}
}

// rowsOf counts a table's rows.
func rowsOf(t *testing.T, db *database.DB, table string) (rows int) {
	t.Helper()
	err := db.Read(t.Context(), func(tx *database.Tx) error {
		var counts []int
		err := tx.Select(t.Context(), &counts, "SELECT COUNT(*) FROM "+table)
		rows = counts[0]
		return err
	})
	if err != nil {
		t.Fatalf("count %s: %v", table, err)
	}
	return rows
}

func addition(clientID, productID string, quantity int64, key ...string) cart.LineChange {
	a := cart.LineChange{ClientID: clientID, ProductID: productID, Quantity: quantity}
	if len(key) > 0 {
		a.Key = key[0]
	}
	return a
}

// wantBatch does additions in one batch and compares what they are answered; nil is Success.
func wantBatch(t *testing.T, m *cart.Manager, additions []cart.LineChange, want ...error) {
	t.Helper()
	got, err := m.AddBatch(t.Context(), additions...)
	if err != nil {
		t.Fatalf("the batch failed: %v", err)
	}
	for i := range got {
		if !sameError(got[i], want[i]) {
			t.Errorf("%+v: got %v, want %v", additions[i], got[i], want[i])
		}
	}
}

// sameError reports whether two answers are the same, in what they carry too.
func sameError(got, want error) bool {
	if replay, ok := errors.AsType[*idempotency.Replay](want); ok {
		other, ok := errors.AsType[*idempotency.Replay](got)
		return ok && cmp.Equal(other.Response, replay.Response)
	}
	return errors.Is(got, want) || got != nil && want != nil && got.Error() == want.Error()
}

func short(productID string, wanted, available int64) error {
	return &inventory.NotEnoughError{ProductID: productID, Wanted: wanted, Available: available}
}

func gone(productID string) error { return &inventory.NoProductError{ProductID: productID} }

func replayOf(err error) error {
	return &idempotency.Replay{Response: present(err)}
}

// eventually waits until what is asked for is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for !so() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited without success: %s", what)
		}
	}
}

// lockLine keeps a line locked until release is called.
func lockLine(t *testing.T, db *database.DB, clientID, productID string) (release func()) {
	t.Helper()
	locked, opened, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- db.Transact(context.Background(), func(tx *database.Tx) error {
			var ids []string
			err := tx.Select(context.Background(), &ids,
				"SELECT product_id FROM client_cart WHERE client_id = ? AND product_id = ?"+tx.ForUpdate(), clientID, productID)
			close(locked)
			<-opened
			return err
		}, nil)
	}()
	select {
	case <-locked:
	case err := <-done:
		t.Fatalf("lock a line: %v", err)
	}
	released := false
	release = func() {
		if released {
			return
		}
		released = true
		close(opened)
		if err := <-done; err != nil {
			t.Errorf("the transaction that kept a line locked: %v", err)
		}
	}
	t.Cleanup(release)
	return release
}

package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"
)

func TestMain(m *testing.M) { os.Exit(databasetest.Main(m)) }

// transact runs work in a transaction that must succeed.
func transact(t *testing.T, db *database.DB, work func(*database.Tx) error) {
	t.Helper()
	if err := db.Transact(t.Context(), work, nil); err != nil {
		t.Fatalf("transaction: %v", err)
	}
}

// execute runs one statement, as a person with an SQL prompt may.
func execute(t *testing.T, db *database.DB, statement string, args ...any) {
	t.Helper()
	transact(t, db, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), statement, args...)
		return err
	})
}

// put stores a product; onHand may be nil for NULL.
func put(t *testing.T, db *database.DB, productID string, onHand any) {
	t.Helper()
	execute(t, db, "INSERT INTO product_details (product_id, product_name, quantity) VALUES (?, ?, ?)", productID, "", onHand)
}

// hold stores a hold of one line.
func hold(t *testing.T, db *database.DB, checkoutID, productID string, quantity int64) {
	t.Helper()
	transact(t, db, func(tx *database.Tx) error {
		return databasetest.Send(t.Context(), tx, func(b *database.Batch) {
			inventory.New(db).Reserve(b, []inventory.Reservation{reservation(checkoutID, productID, quantity)})
		})
	})
}

func reservation(checkoutID, productID string, quantity int64) inventory.Reservation {
	return inventory.Reservation{CheckoutID: checkoutID, Lines: []inventory.Line{{ProductID: productID, Quantity: quantity}}}
}

// levelsOf returns what is stored of products; those that do not exist are left out.
func levelsOf(t *testing.T, db *database.DB, productIDs ...string) map[string]inventory.Level {
	t.Helper()
	levels := map[string]inventory.Level{}
	err := db.Read(t.Context(), func(tx *database.Tx) error {
		stock, err := check(t, tx, inventory.New(db), productIDs...)
		for _, id := range productIDs {
			if level, ok := stock.Level(id); ok {
				levels[id] = level
			}
		}
		return err
	})
	if err != nil {
		t.Fatalf("check: %v", err)
	}
	return levels
}

func wantLevel(t *testing.T, db *database.DB, productID string, want inventory.Level) {
	t.Helper()
	if got, ok := levelsOf(t, db, productID)[productID]; !ok || got != want {
		t.Errorf("stock of %s: got %+v (there: %v), want %+v", productID, got, ok, want)
	}
}

// twoInstances opens one fresh MySQL database twice, as two instances do.
func twoInstances(t *testing.T, flavour dbserver.Flavour) (first, second *database.DB) {
	t.Helper()
	cfg := database.Config{MySQLDSN: databasetest.ServerDSN(t, flavour)}
	return databasetest.Open(t, cfg), databasetest.Open(t, cfg)
}

// managers are one that has detected a cluster and, outside of clusters, one that has not.
func managers(db *database.DB) []*inventory.Manager {
	clustered := []*inventory.Manager{inventory.NewClustered(db)}
	if db.Clustered() {
		return clustered
	}
	return append([]*inventory.Manager{inventory.New(db)}, clustered...)
}

// lockProduct keeps a product's row locked until release is called.
func lockProduct(t *testing.T, db *database.DB, productID string) (release func()) {
	t.Helper()
	locked, opened, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- db.Transact(context.Background(), func(tx *database.Tx) error {
			var ids []string
			err := tx.Select(context.Background(), &ids,
				"SELECT product_id FROM product_details WHERE product_id = ?"+tx.ForUpdate(), productID)
			close(locked)
			<-opened
			return err
		}, nil)
	}()
	select {
	case <-locked:
	case err := <-done:
		t.Fatalf("lock %s: %v", productID, err)
	}
	released := false
	release = func() {
		if released {
			return
		}
		released = true
		close(opened)
		if err := <-done; err != nil {
			t.Errorf("the transaction that kept %s locked: %v", productID, err)
		}
	}
	t.Cleanup(release)
	return release
}

// eventually waits until check is true.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	databasetest.Eventually(t, 20*time.Second, what, check)
}

func name(parts ...any) string { return fmt.Sprint(parts...) }

// check returns the products' stock as it is committed.
func check(t testing.TB, tx *database.Tx, m *inventory.Manager, ids ...string) (stock *inventory.Stock, err error) {
	t.Helper()
	err = databasetest.Send(t.Context(), tx, func(b *database.Batch) { stock = m.ReadLevels(b, ids) })
	return stock, err
}

// commit takes what was reserved off the stock on hand.
func commit(t testing.TB, tx *database.Tx, m *inventory.Manager, reservations []inventory.Reservation) error {
	t.Helper()
	b := tx.Batch()
	return errors.Join(m.Sell(b, reservations), b.Send(t.Context()))
}

package e2e

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/payment"
	"cartwheel/payment/reference"
)

// books are what the database says, read from outside.
type snapshot struct {
	onHand    map[string]int64
	held      map[string]int64
	carts     map[string]map[string]int64 // client, product
	checkouts []checkout.Entry
}

func (s store) snapshot(t *testing.T) snapshot {
	t.Helper()
	ctx := context.Background()
	db, err := database.Open(ctx, s.config)
	if err != nil {
		t.Fatalf("open the books: %v", err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the books: %v", err)
		}
	}()
	b := snapshot{onHand: map[string]int64{}, held: map[string]int64{}, carts: map[string]map[string]int64{}}
	if err := db.Snapshot(ctx, func(tx *database.Tx) error {
		if err := inventory.EachLevel(ctx, tx, func(id string, level inventory.Level) error {
			b.onHand[id], b.held[id] = level.OnHand, level.Reserved
			return nil
		}); err != nil {
			return err
		}
		var lines []struct {
			Client   string `db:"client_id"`
			Product  string `db:"product_id"`
			Quantity int64  `db:"quantity"`
		}
		if err := tx.Select(ctx, &lines, "SELECT client_id, product_id, COALESCE(quantity, 0) AS quantity FROM client_cart"); err != nil {
			return err
		}
		for _, line := range lines {
			if b.carts[line.Client] == nil {
				b.carts[line.Client] = map[string]int64{}
			}
			b.carts[line.Client][line.Product] = line.Quantity
		}
		return nil
	}); err != nil {
		t.Fatalf("read the books: %v", err)
	}
	if err := checkout.List(ctx, db, checkout.Filter{}, func(e checkout.Entry) error {
		b.checkouts = append(b.checkouts, e)
		return nil
	}); err != nil {
		t.Fatalf("read the journal: %v", err)
	}
	return b
}

func (b snapshot) open() (n int) {
	for _, e := range b.checkouts {
		if !e.State.Settled() {
			n++
		}
	}
	return n
}

// sold adds up what committed and cancelling checkouts bought.
func (b snapshot) sold() map[string]int64 {
	sold := map[string]int64{}
	for _, e := range b.checkouts {
		if e.State == checkout.Committed || e.State == checkout.Cancelling {
			for _, line := range e.Lines {
				sold[line.ProductID] += line.Quantity
			}
		}
	}
	return sold
}

// accountedFor adds up the units in carts, in checkouts in flight, and in committed or
// cancelled ones: promise U's three places.
func (b snapshot) accountedFor() int64 {
	var units int64
	for _, lines := range b.carts {
		for _, n := range lines {
			units += n
		}
	}
	for _, e := range b.checkouts {
		if e.State != checkout.RolledBack {
			for _, line := range e.Lines {
				units += line.Quantity
			}
		}
	}
	return units
}

// balance checks promises C and Q: what was imported is on hand or sold, and nothing is held or in
// flight.
func (b snapshot) balance(t *testing.T, imported map[string]int) {
	t.Helper()
	sold := b.sold()
	for id, n := range imported {
		if got := b.onHand[id] + sold[id]; got != int64(n) {
			t.Errorf("product %s: %d on hand and %d sold, want %d together", id, b.onHand[id], sold[id], n)
		}
	}
	for id, n := range b.held {
		if n != 0 {
			t.Errorf("product %s: %d are held though nothing is in flight", id, n)
		}
	}
	if n := b.open(); n != 0 {
		t.Errorf("%d checkouts are in flight", n)
	}
}

// A paymentService is the shop's payment service, with books of its own.
type paymentService struct {
	*reference.Service
	url string
}

func startPaymentService(t *testing.T) *paymentService {
	t.Helper()
	service, err := reference.Open(filepath.Join(t.TempDir(), "payments.log"), reference.Options{})
	if err != nil {
		t.Fatalf("open the payment service: %v", err)
	}
	server := httptest.NewServer(service)
	t.Cleanup(func() {
		server.Close()
		if err := service.Close(); err != nil {
			t.Errorf("close the payment service: %v", err)
		}
	})
	return &paymentService{service, server.URL}
}

// paymentTotals count payments by their state. Captures are the charges, refunded or not.
type paymentTotals struct{ Voided, Refunded, Captures int }

// Totals counts the payments.
func (s *paymentService) Totals() (totals paymentTotals) {
	for _, known := range s.Payments() {
		switch known.Status { //nolint:exhaustive // the others are no totals
		case payment.Approved:
			totals.Captures++
		case payment.Voided:
			totals.Voided++
		case payment.Refunded:
			totals.Captures++
			totals.Refunded++
		}
	}
	return totals
}

// agrees checks promise P at quiescence: captured and not refunded if and only if committed, and
// refunded if cancelled.
func (b snapshot) agrees(t *testing.T, payments map[string]reference.Payment) {
	t.Helper()
	committed := map[string]bool{}
	for _, e := range b.checkouts {
		committed[e.CheckoutID] = e.State == checkout.Committed
	}
	for id, p := range payments {
		if captured := p.Status == payment.Approved; captured != committed[id] {
			t.Errorf("checkout %s: the payment service says %s, the journal says committed: %v", id, p.Status, committed[id])
		}
	}
	for _, e := range b.checkouts {
		if status := payments[e.CheckoutID].Status; e.State == checkout.Cancelled && status != payment.Refunded {
			t.Errorf("checkout %s is cancelled, the payment service says %q", e.CheckoutID, status)
		}
	}
	for id, is := range committed {
		if _, known := payments[id]; is && !known {
			t.Errorf("checkout %s is committed, and the payment service does not know it", id)
		}
	}
}

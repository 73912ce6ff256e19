package checkout_test

import (
	"testing"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// Clients and products whose IDs the database's default character set lacks are bought, restored
// and recovered.
func TestCheckout_worksOnAnyDefaultCharset(t *testing.T) {
	t.Parallel()
	databasetest.EachCharset(t, func(t *testing.T, db *database.DB) {
		t.Parallel()
		s := newShop(t, db)
		s.stockAll(map[string]int64{"лампа": 10, "🐸": 10})
		in := s.open(settings{})
		s.add("Жанна", "лампа", 2)
		s.add("Борис", "лампа", 3)
		s.add("Борис", "🐸", 1)
		wantErr(t, in.buy("Жанна"), nil)
		want(t, "the cart of Борис", s.inCart("Борис"), "лампа×3 🐸×1")
		want(t, "the state of Жанна's checkout", s.entry("Жанна").State, checkout.Committed)

		s.add("Анна", "лампа", 1)
		in.till.charges(s.ledger.decline(""))
		wantErr(t, in.buy("Анна"), checkout.ErrDeclined)
		want(t, "the restored cart", s.inCart("Анна"), "лампа×1")

		in.till.charges(s.ledger.approve)
		wantErr(t, in.buy("Борис"), nil)
		want(t, "lamps on hand", s.onHand("лампа"), 5)
		want(t, "frogs on hand", s.onHand("🐸"), 9)
		want(t, "reserved lamps", s.held("лампа"), 0)
		s.quiet()
	})
}

// A cart and a product that the replaced system left are sold, and their checkout settles.
func TestCheckout_settlesAdoptedRowsOnAnyDefaultCharset(t *testing.T) {
	t.Parallel()
	databasetest.EachAdoptedRow(t, func(t *testing.T, db *database.DB, clientID, productID string) {
		t.Parallel()
		s := newShop(t, db)
		s.stocked[productID], s.added[units{clientID, productID}] = 10, 2
		in := s.open(settings{})
		in.till.charges(s.ledger.decline(""))
		wantErr(t, in.buy(clientID), checkout.ErrDeclined)
		want(t, "the restored cart", s.inCart(clientID), productID+"×2")
		in.till.charges(s.ledger.approve)
		wantErr(t, in.buy(clientID), nil)
		want(t, "the cart", s.inCart(clientID), "")
		want(t, "the product's units on hand", s.onHand(productID), 8)
		want(t, "its reserved units", s.held(productID), 0)
		want(t, "checkouts in flight", s.inFlight(), 0)
	})
}

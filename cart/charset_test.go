package cart_test

import (
	"testing"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// Clients whose IDs differ only in letters that the database's default character set lacks have a
// cart each.
func TestAdd_keepsClientsApartOnAnyDefaultCharset(t *testing.T) {
	t.Parallel()
	databasetest.EachCharset(t, func(t *testing.T, db *database.DB) {
		m := newManager(t, db)
		putProduct(t, db, "лампа", 100)
		putProduct(t, db, "🐸", 100)
		additions := []cart.LineChange{addition("Жанна", "лампа", 1), addition("Борис", "лампа", 2), addition("борис", "лампа", 4)}
		for range 2 { // lines that are new, and lines that exist
			wantBatch(t, m, additions, nil, nil, nil)
		}
		wantBatch(t, m, []cart.LineChange{addition("Жанна", "🐸", 8, "key-1")}, nil)
		wantBatch(t, m, []cart.LineChange{addition("Жанна", "🐸", 8, "key-1")}, replayOf(nil))
		wantCart(t, db, "Жанна", map[string]int64{"лампа": 2, "🐸": 8})
		wantCart(t, db, "Борис", map[string]int64{"лампа": 4})
		wantCart(t, db, "борис", map[string]int64{"лампа": 8})
		wantBatch(t, m, []cart.LineChange{addition("Жанна", "лампа", 99)}, short("лампа", 101, 100))
		wantBatch(t, m, []cart.LineChange{addition("Жанна", "ламп", 1)}, gone("ламп"))
	})
}

package checkout_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// Instances find the same checkouts expired, and claim them one after the other, or at once.
func TestClaim_whatAnotherInstanceHasClaimedSinceIsNotClaimedAgain(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db) // the embedded engine has one instance
		s.stock("book", 5)
		clients := []string{"ada", "bob", "cleo"}
		var ids []string
		for _, client := range clients {
			s.add(client, "book", 1)
		}
		s.crash(settings{}, clients...)
		for _, e := range s.entries(checkout.Filter{Open: true}) {
			ids = append(ids, e.CheckoutID)
		}
		slices.Sort(ids)
		s.expireLeases()
		var claimed atomic.Int64
		claim := func() {
			got, err := s.open(settings{idle: true}).Claim(t.Context(), ids)
			wantErr(t, err, nil)
			claimed.Add(int64(len(got)))
		}
		var atOnce sync.WaitGroup
		for range 3 {
			atOnce.Go(claim)
		}
		atOnce.Wait()
		claim()
		want(t, "claims", claimed.Load(), int64(len(ids)))
		for _, e := range s.entries(checkout.Filter{Open: true}) {
			want(t, "epoch", e.Epoch, 2)
		}
		s.expireLeases() // the claims came to nothing
		s.open(settings{})
		s.quiet()
	})
}

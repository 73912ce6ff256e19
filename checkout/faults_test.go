package checkout_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"
	"cartwheel/queue"
)

func TestFaults_panicInTX1ReservesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		var panics atomic.Bool
		panics.Store(true)
		in := s.open(settings{stock: &watchedStock{locked: func() {
			if panics.Swap(false) {
				panic("a fault of ours")
			}
		}}})
		wantErr(t, in.buy("ada"), queue.ErrPanicked)
		want(t, "rows in the journal", len(s.entries(checkout.Filter{})), 0)
		wantErr(t, in.buy("ada"), nil)
	})
}

func TestFaults_panicInTX2IsTriedAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		var panics atomic.Bool
		panics.Store(true)
		in := s.open(settings{stock: &watchedStock{commit: func(int) {
			if panics.Swap(false) {
				panic("a fault of ours")
			}
		}}})
		wantErr(t, in.buy("ada"), nil)
		want(t, "on hand", s.onHand("book"), 3)
	})
}

// The first try of a settle may have committed without its owner knowing: then the next one changes
// nothing.
func TestFaults_settleThatCommittedIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		s.add("bob", "book", 1)
		in := s.open(settings{})
		held := in.till.hold()
		ada, bob := in.begin("ada"), in.begin("bob")
		held.await(t, 2)
		committed := s.entry("ada").CheckoutID
		s.transact(func(ctx context.Context, tx *database.Tx) error {
			lines := []cart.ClientLine{{ClientID: "ada", Line: inventory.Line{ProductID: "book", Quantity: 2}}}
			if err := restore(ctx, tx, lines); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "DELETE FROM reserve_purchase WHERE reserve_id = ?", committed+":1"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "UPDATE checkout_journal SET state = 'rolled_back', reason = 'declined: at first',"+
				" lease_expires_at = NULL WHERE checkout_id = ?", committed)
			return err
		})
		held.open(s.ledger.decline("at second"))
		err := ada.end()
		wantErr(t, err, checkout.ErrDeclined)
		if err != nil && !strings.Contains(err.Error(), "at first") {
			t.Errorf("answered %v, want what the journal says", err)
		}
		wantErr(t, bob.end(), checkout.ErrDeclined)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
	})
}

// crossing returns a shop on a server, and the number of its retried transactions.
func crossing(t *testing.T, flavour dbserver.Flavour) (*shop, *atomic.Int64) {
	t.Helper()
	count := &atomic.Int64{}
	observe := database.Observer{Retry: func(string) { count.Add(1) }}
	return newShop(t, databasetest.Open(t, database.Config{MySQLDSN: databasetest.ServerDSN(t, flavour), Observe: observe})), count
}

const crossingProducts, crossingClients = 12, 60

// addCrossing puts lines that overlap into every client's cart.
func (s *shop) addCrossing(round int) {
	s.t.Helper()
	var added []cart.ClientLine
	for c := range crossingClients {
		for i := range 8 {
			product := fmt.Sprintf("p%02d", (c*7+i*5+round)%crossingProducts)
			added = append(added, cart.ClientLine{ClientID: fmt.Sprint("client-", c), Line: inventory.Line{ProductID: product, Quantity: 1}})
		}
	}
	s.addAll(added...)
}

// Every transaction takes its locks in one order, so that none waits for another in a circle.
func TestFaults_checkoutsThatCrossDoNotDeadlock(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		s, count := crossing(t, flavour)
		for i := range crossingProducts {
			s.stock(fmt.Sprintf("p%02d", i), 1<<20)
		}
		var ins []*instance
		for i := range 3 {
			in := s.open(settings{Config: checkout.Config{BatchSize: 40}})
			if i == 1 {
				in.till.charges(s.ledger.decline("crossed"))
			}
			ins = append(ins, in)
		}
		for round := range 3 {
			s.addCrossing(round)
			var buying sync.WaitGroup
			for c := range crossingClients {
				buying.Go(func() {
					outcome := error(nil)
					if c%len(ins) == 1 {
						outcome = checkout.ErrDeclined
					}
					wantErr(t, ins[c%len(ins)].buyPatiently(fmt.Sprint("client-", c)), outcome)
				})
			}
			buying.Wait()
		}
		want(t, "retried transactions", count.Load(), 0)
	})
}

func TestFaults_restoresThatCrossDoNotDeadlock(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for name, stored := range map[string]bool{"lines that are stored": true, "lines that are gone": false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				restoreCrossing(t, flavour, stored)
			})
		}
	})
}

// restoreCrossing restores every client's lines from three checkouts at once.
func restoreCrossing(t *testing.T, flavour dbserver.Flavour, stored bool) {
	t.Helper()
	s, count := crossing(t, flavour)
	for i := range crossingProducts {
		s.stock(fmt.Sprintf("p%02d", i), 1<<20)
	}
	var calls []*call
	var gates []*gate
	for range 3 { // each client has a checkout on each instance
		in := s.open(settings{})
		s.addCrossing(0)
		held := in.till.hold()
		gates = append(gates, held)
		for c := range crossingClients {
			calls = append(calls, in.begin(fmt.Sprint("client-", c)))
		}
		held.await(t, crossingClients)
	}
	if stored {
		s.addCrossing(0)
	}
	for _, held := range gates {
		held.open(s.ledger.decline("crossed"))
	}
	for _, c := range calls {
		wantErr(t, c.end(), checkout.ErrDeclined)
	}
	want(t, "retried transactions", count.Load(), 0)
}

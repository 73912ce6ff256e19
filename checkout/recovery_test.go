package checkout_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
	"cartwheel/payment"
)

func TestRecovery_anotherInstanceVoidsWhatACrashedOneLeft(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		const lease = 700 * time.Millisecond
		old := s.open(settings{Config: checkout.Config{Lease: lease}, idle: true})
		paused := old.till.pause()
		ada := old.begin("ada")
		paused.await(t, 1)

		recovered := make(chan checkout.State, 8)
		s.open(settings{Config: checkout.Config{ObserveRecovery: func(state checkout.State) { recovered <- state }}})
		s.quiet()
		e := s.entry("ada")
		want(t, "state", e.State, checkout.RolledBack)
		want(t, "observed", <-recovered, checkout.RolledBack)
		want(t, "epoch", e.Epoch, 2)
		want(t, "voided", s.ledger.of(e.CheckoutID).voided, true)
		took := e.UpdatedAt.Sub(e.CreatedAt)
		if !s.db.Embedded() && took < lease {
			t.Errorf("claimed after %v, while it was its owner's for %v", took, lease)
		}

		// The old owner wakes up, charges, and learns the end.
		old.start()
		paused.open(s.ledger.approve)
		wantErr(t, ada.end(), checkout.ErrUnpaid)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
		want(t, "epoch", s.entry("ada").Epoch, 2)
	})
}

func TestRecovery_commitsWhatProvesCharged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		old := s.open(settings{idle: true})
		held := old.till.gate(false)
		old.till.charges(func(ctx context.Context, order payment.Order) (payment.Result, error) {
			if _, err := s.ledger.approve(ctx, order); err != nil {
				return payment.Result{}, err
			}
			return held.charge(ctx, order)
		})
		old.begin("ada")
		held.await(t, 1)
		s.expireLeases()
		s.open(settings{})
		s.quiet()
		want(t, "state", s.entry("ada").State, checkout.Committed)
		want(t, "on hand", s.onHand("book"), 3)
	})
}

func TestRecovery_lockedJournalRowDelaysItsOwnRecoveryAlone(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		const open = 5
		s.stock("book", open)
		old := s.open(settings{idle: true})
		paused := old.till.pause()
		for i := range open {
			client := fmt.Sprint("client-", i)
			s.add(client, "book", 1)
			old.begin(client)
		}
		paused.await(t, open)
		s.expireLeases()
		locked := s.entry("client-0").CheckoutID
		unlock := s.lockRows(t, "SELECT * FROM checkout_journal WHERE checkout_id = '"+locked+"'")
		s.open(settings{})
		eventually(t, "all but the locked one are settled", func() bool { return s.inFlight() == 1 })
		want(t, "the locked one", s.entry("client-0").State, checkout.Reserved)
		unlock()
		s.quiet()
		old.start()
		paused.open(s.ledger.approve)
	})
}

func TestRecovery_damagedJournalRowDelaysNoOtherRecovery(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 2)
		old := s.open(settings{idle: true})
		paused := old.till.pause()
		for _, client := range []string{"ada", "bob"} {
			s.add(client, "book", 1)
			old.begin(client)
		}
		paused.await(t, 2)
		items := s.number("SELECT COUNT(*) FROM checkout_journal WHERE items LIKE '[%'")
		want(t, "rows with lines", items, 2)
		s.exec("UPDATE checkout_journal SET items = CONCAT('?', items) WHERE client_id = 'ada'")
		s.expireLeases()
		s.open(settings{})
		eventually(t, "the other one is settled", func() bool { return s.inFlight() == 1 })
		s.exec("UPDATE checkout_journal SET items = SUBSTR(items, 2) WHERE client_id = 'ada'")
		s.quiet()
		old.start()
		paused.open(s.ledger.approve)
	})
}

// lateOwner is an owner whose lease another instance has taken over, and has not finished yet.
type lateOwner struct {
	*instance
	call   *call
	paused *gate   // the old owner's charge
	voids  *gate   // the new owner's voids
	done   batches // the old owner's settles
}

func (s *shop) lateOwner(client string) lateOwner {
	s.t.Helper()
	done := make(batches, 1<<10)
	o := lateOwner{done: done, instance: s.open(settings{Config: checkout.Config{ObserveSettle: done.observer()}, idle: true})}
	o.paused = o.till.pause()
	o.call = o.begin(client)
	o.paused.await(s.t, 1)
	s.expireLeases()
	newTill := s.ledger.till()
	o.voids = newTill.holdVoids()
	s.open(settings{till: newTill})
	o.voids.await(s.t, 1)
	want(s.t, "epoch", s.entry(client).Epoch, 2)
	return o
}

func TestRecovery_ownerPastItsLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		old := s.lateOwner("ada")

		old.paused.open(s.ledger.decline("too late"))
		old.done.await(t)
		e := s.entry("ada")
		want(t, "state", e.State, checkout.Reserved)
		want(t, "epoch", e.Epoch, 2)
		want(t, "held", s.held("book"), 2)
		want(t, "ada's cart", s.inCart("ada"), "")

		old.voids.open(nil)
		s.quiet()
		want(t, "ada's cart", s.inCart("ada"), "book×2")
		old.start()
		wantErr(t, old.call.end(), checkout.ErrUnpaid) // what the journal says, not what it was told
		want(t, "settles that it tried after the first", len(old.done), 0)
	})
}

func TestRecovery_ownerPastTheEndOfItsCheckoutChangesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		old := s.lateOwner("ada")
		old.voids.open(nil)
		s.quiet()
		old.paused.open(s.ledger.decline("too late"))
		wantErr(t, old.call.end(), checkout.ErrUnpaid)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
	})
}

func TestRecovery_ownerPastItsLeaseDoesNotRefund(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		old := s.lateOwner("ada")
		s.lower("book", 5)

		old.paused.open(s.ledger.approve)
		old.done.await(t)
		e := s.entry("ada")
		want(t, "state", e.State, checkout.Reserved)
		want(t, "held", s.held("book"), 2)
		want(t, "refunds", old.till.refunded.Load(), 0)

		s.stock("book", 5)
		old.voids.open(nil)
		s.quiet()
		want(t, "state", s.entry("ada").State, checkout.Committed)
		old.start()
		wantErr(t, old.call.end(), nil)
		want(t, "settles that it tried after the first", len(old.done), 0)
		want(t, "refunds", s.ledger.of(e.CheckoutID).refunds, 0)
	})
}

func TestRecovery_sweepersClaimEachCheckoutOnce(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db) // the embedded engine has one instance
		const open, sweepers = 400, 4
		s.stock("book", open)
		var clients []string
		var added []cart.ClientLine
		for i := range open {
			clients = append(clients, fmt.Sprint("client-", i))
			added = append(added, cart.ClientLine{ClientID: clients[i], Line: inventory.Line{ProductID: "book", Quantity: 1}})
		}
		s.addAll(added...)
		s.crash(settings{}, clients...)
		var instances []*instance
		for range sweepers {
			instances = append(instances, s.open(settings{idle: true}))
		}
		s.expireLeases()
		entries := s.entries(checkout.Filter{})
		unlock := s.lockRows(t, "SELECT * FROM checkout_journal WHERE checkout_id = ?", entries[len(entries)-1].CheckoutID)
		var starting sync.WaitGroup
		for _, in := range instances {
			starting.Go(in.start)
		}
		starting.Wait()
		eventually(t, "all but the locked one are recovered", func() bool { return s.inFlight() == 1 })
		unlock()
		s.quiet()
		for _, e := range s.entries(checkout.Filter{}) {
			if voids := s.ledger.of(e.CheckoutID).voids; e.Epoch != 2 || voids != 1 {
				t.Errorf("checkout %s has epoch %d and was voided %d times, want 2 and once", e.CheckoutID, e.Epoch, voids)
			}
		}
	})
}

func TestRecovery_liveOwnersCheckoutIsNotClaimed(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db) // the embedded engine has one instance
		s.stock("book", 5)
		s.add("ada", "book", 1)
		s.add("bob", "book", 1)
		owner := s.open(settings{})
		held := owner.till.hold()
		ada := owner.begin("ada")
		held.await(t, 1)
		s.crash(settings{Config: checkout.Config{Lease: time.Millisecond}}, "bob")
		other := s.open(settings{})
		eventually(t, "another's checkout is recovered", func() bool { return s.entry("bob").State.Settled() })
		want(t, "epoch", s.entry("ada").Epoch, 1)
		want(t, "state", s.entry("ada").State, checkout.Reserved)
		want(t, "voids", owner.till.voided.Load()+other.till.voided.Load(), 1)
		held.open(s.ledger.approve)
		wantErr(t, ada.end(), nil)
	})
}

// The embedded engine has one server: whatever is open when it starts is nobody's.
func TestRecovery_embeddedEngineRecoversAtOnceWhateverTheLease(t *testing.T) {
	t.Parallel()
	s := newShop(t, databasetest.Embedded(t))
	s.stock("book", 5)
	s.add("ada", "book", 2)
	s.crash(settings{Config: checkout.Config{Lease: time.Hour}}, "ada")
	s.open(settings{})
	s.quiet() // long before the lease ends
	want(t, "ada's cart", s.inCart("ada"), "book×2")
}

func TestRecovery_runsManyCheckoutsAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const open, atOnce = 1000, 200
		s.stock("book", open)
		var clients []string
		var added []cart.ClientLine
		for i := range open {
			clients = append(clients, fmt.Sprintf("client-%04d", i))
			added = append(added, cart.ClientLine{ClientID: clients[i], Line: inventory.Line{ProductID: "book", Quantity: 1}})
		}
		s.addAll(added...)
		s.crash(settings{}, clients...)
		s.expireLeases()
		var voids atomic.Int64
		all := make(chan struct{})
		till := s.ledger.till().voids(func(ctx context.Context, id string) (payment.Result, error) {
			if voids.Add(1) == atOnce {
				close(all)
			}
			select { // the first voids wait for each other
			case <-all:
				return s.ledger.void(ctx, id)
			case <-ctx.Done():
				return payment.Result{}, ctx.Err()
			}
		})
		s.open(settings{till: till})
		eventually(t, "no checkout is in flight", func() bool {
			return s.number("SELECT COUNT(*) FROM checkout_journal WHERE lease_expires_at IS NOT NULL") == 0
		})
	})
}

func TestRecovery_keepsAskingAGatewayThatIsAway(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		s.crash(settings{}, "ada")
		s.expireLeases()
		in := s.open(settings{Config: checkout.Config{Lease: 300 * time.Millisecond}, till: s.ledger.till().away()})
		eventually(t, "it is claimed again", func() bool { return s.entry("ada").Epoch >= 4 })
		want(t, "state", s.entry("ada").State, checkout.Reserved)
		want(t, "held", s.held("book"), 2)
		if asked := in.till.voided.Load(); asked < 2 {
			t.Errorf("the gateway was asked %d times", asked)
		}
		in.till.back()
		s.quiet()
		want(t, "state", s.entry("ada").State, checkout.RolledBack)
	})
}

func TestRecovery_finishesARefund(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		old := s.open(settings{idle: true})
		held := old.till.hold()
		ada := old.begin("ada")
		held.await(t, 1)
		s.lower("book", 4)
		old.till.refunds(func(context.Context, string) (payment.Result, error) { return payment.Result{}, errLost })
		held.open(s.ledger.approve)
		eventually(t, "the old owner asks for a refund", func() bool { return old.till.refunded.Load() > 1 })
		want(t, "state", s.entry("ada").State, checkout.Refunding)
		s.stock("book", 10) // nothing leaves refunding for committed

		s.expireLeases()
		in := s.open(settings{})
		s.quiet()
		e := s.entry("ada")
		want(t, "state", e.State, checkout.RolledBack)
		want(t, "refunded", s.ledger.of(e.CheckoutID).refunded, true)
		want(t, "voids", in.till.voided.Load(), 0)
		want(t, "on hand", s.onHand("book"), 11)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
		if !strings.HasPrefix(e.Reason, "refunded") {
			t.Errorf("the reason is %q, want that it was refunded", e.Reason)
		}
		old.till.refunds(nil)
		wantErr(t, ada.end(), checkout.ErrRefunded)
	})
}

// An answer to a charge that comes when the lease is over is not acted on; whoever has the checkout
// then asks again.
func TestRecovery_answerAfterTheLeaseIsAskedForAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{Config: checkout.Config{Lease: 200 * time.Millisecond}})
		paused := in.till.pause()
		ada := in.begin("ada")
		paused.await(t, 1)
		s.quiet() // its own sweeper claims it
		if epoch := s.entry("ada").Epoch; epoch < 2 {
			t.Errorf("the epoch is %d", epoch)
		}
		paused.open(s.ledger.approve)
		wantErr(t, ada.end(), checkout.ErrUnpaid)
		want(t, "ada's cart", s.inCart("ada"), "book×2")
	})
}

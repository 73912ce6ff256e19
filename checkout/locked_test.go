package checkout_test

import (
	"fmt"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// lockWait is how long a statement waits for a row that someone else has locked.
const lockWait = 2 * time.Second

// forget drops what was done so far.
func (b batches) forget() {
	for len(b) > 0 {
		<-b
	}
}

// wantNoWait fails the test if a batch that was done since took as long as a lock is waited for. It
// is the batches that are timed, not the callers: those may wait for a busy machine.
func (b batches) wantNoWait(t tester, what string) {
	t.Helper()
	for len(b) > 0 {
		if batch := <-b; batch.Took >= lockWait {
			t.Errorf("%s: a batch of %d took %v", what, batch.Jobs, batch.Took)
		}
	}
}

// waitedInVain waits until a batch was done that waited for a lock.
func (b batches) waitedInVain(t tester) {
	t.Helper()
	for b.await(t).Took < time.Second {
	}
}

// doesNotWait checks that the next batch, which meets a lock that is known, does not wait for it.
func (b batches) doesNotWait(t tester) {
	t.Helper()
	if took := b.await(t).Took; took >= lockWait {
		t.Errorf("another try of a settle took %v, want less than %v", took, lockWait)
	}
}

func TestLockedRows_lockedProductDelaysItsOwnCheckoutsAlone(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		s.stock("locked", 50)
		s.stock("free", 50)
		for i := range 20 {
			s.add(fmt.Sprint("locked-", i), "locked", 1)
			s.add(fmt.Sprint("free-", i), "free", 1)
		}
		s.add("both", "free", 1)
		s.add("both", "locked", 1)
		s.add("early", "locked", 1)
		s.add("late", "locked", 1)
		reserving, done := make(batches, 1<<10), make(batches, 1<<10)
		in := s.open(settings{Config: checkout.Config{ObserveReserve: reserving.observer(), ObserveSettle: done.observer()}})
		held := in.till.hold()
		early := in.begin("early")
		held.await(t, 1)
		in.till.back()
		unlock := s.lockRows(t, "SELECT * FROM product_details WHERE product_id = 'locked'")

		// The first that meets the lock waits for it, once.
		wantErr(t, in.buy("locked-0"), database.ErrRowLocked)
		// From then on nobody waits.
		eventually(t, "the batch that waited is done", func() bool { return len(reserving) > 1 })
		reserving.forget()
		var refused, sold []*call
		for i := range 20 {
			refused = append(refused, in.begin(fmt.Sprint("locked-", i)))
			sold = append(sold, in.begin(fmt.Sprint("free-", i)))
		}
		refused = append(refused, in.begin("both"), in.beginKeyed("late", "key"))
		allSold(t, sold)
		for _, c := range refused {
			wantErr(t, c.end(), database.ErrRowLocked)
		}
		reserving.wantNoWait(t, "the others")
		want(t, "keys that a refusal for the lock stored", s.number("SELECT COUNT(*) FROM idempotency_key"), 0)

		// A settle waits for another try, in nobody's way.
		done.forget()
		held.open(s.ledger.approve)
		eventually(t, "it is tried twice", func() bool { return len(done) > 1 })
		s.add("free-0", "free", 1)
		wantErr(t, in.buy("free-0"), nil)
		done.wantNoWait(t, "a sale beside a settle that waits")
		if !early.waits() {
			t.Errorf("answered %v while its product was locked", early.err)
		}
		unlock()
		wantErr(t, early.end(), nil)
		wantErr(t, in.buy("locked-0"), nil)
		wantErr(t, in.buy("both"), nil)
		wantErr(t, in.beginKeyed("late", "key").end(), nil)
	})
}

func TestLockedRows_settleWaitsForALockedProduct(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		s.stock("locked", 50)
		s.stock("free", 50)
		s.add("ada", "locked", 1)
		s.add("bob", "free", 1)
		done := make(batches, 1<<10)
		in := s.open(settings{Config: checkout.Config{BatchSize: 1, ObserveSettle: done.observer()}})
		held := in.till.hold()
		ada, bob := in.begin("ada"), in.begin("bob")
		held.await(t, 2)
		unlock := s.lockRows(t, "SELECT * FROM product_details WHERE product_id = 'locked'")
		held.open(s.ledger.approve)
		wantErr(t, bob.end(), nil)
		done.waitedInVain(t)
		done.doesNotWait(t)
		if !ada.waits() {
			t.Errorf("answered %v while its product was locked", ada.err)
		}
		unlock()
		wantErr(t, ada.end(), nil)
	})
}

func TestLockedRows_lockedCartDelaysItsOwnCheckoutsAlone(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		s.stock("book", 90)
		s.add("ada", "book", 1)
		s.add("bob", "book", 1)
		s.add("bob", "pen", 1)
		s.stock("pen", 9)
		for i := range 20 {
			s.add(fmt.Sprint("free-", i), "book", 1)
		}
		reserving, done := make(batches, 1<<10), make(batches, 1<<10)
		in := s.open(settings{Config: checkout.Config{ObserveReserve: reserving.observer(), ObserveSettle: done.observer()}})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)
		in.till.back()
		s.add("ada", "book", 2)
		unlock := s.lockRows(t, "SELECT * FROM client_cart WHERE (client_id = 'ada' AND product_id = 'book') OR (client_id = 'bob' AND product_id = 'pen')")

		wantErr(t, in.buy("bob"), database.ErrRowLocked) // one line is enough
		held.open(s.ledger.decline("no"))                // what is put back meets the lock as well
		done.waitedInVain(t)
		done.doesNotWait(t)
		reserving.waitedInVain(t)
		reserving.forget()
		bob := in.begin("bob")
		var sold []*call
		for i := range 20 {
			sold = append(sold, in.begin(fmt.Sprint("free-", i)))
		}
		allSold(t, sold)
		wantErr(t, bob.end(), database.ErrRowLocked)
		reserving.wantNoWait(t, "the others")
		if !ada.waits() {
			t.Errorf("answered %v while its cart was locked", ada.err)
		}
		unlock()
		wantErr(t, ada.end(), checkout.ErrDeclined)
		want(t, "ada's cart", s.inCart("ada"), "book×3")
		wantErr(t, in.buy("bob"), nil)
	})
}

func TestLockedRows_lockedJournalRowDelaysItsOwnCheckoutAlone(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		s.stock("book", 90)
		s.add("ada", "book", 1)
		for i := range 20 {
			s.add(fmt.Sprint("free-", i), "book", 1)
		}
		done := make(batches, 1<<10)
		in := s.open(settings{Config: checkout.Config{ObserveSettle: done.observer()}})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)
		in.till.back()
		unlock := s.lockRows(t, "SELECT * FROM checkout_journal WHERE checkout_id = '"+s.entries(checkout.Filter{})[0].CheckoutID+"'")
		held.open(s.ledger.approve)
		done.waitedInVain(t)
		done.doesNotWait(t)
		done.forget()
		var sold []*call
		for i := range 20 {
			sold = append(sold, in.begin(fmt.Sprint("free-", i))) // the same product
		}
		allSold(t, sold)
		eventually(t, "it is tried again", func() bool { return len(done) > 1 })
		done.wantNoWait(t, "the others")
		if !ada.waits() {
			t.Errorf("answered %v while its row was locked", ada.err)
		}
		unlock()
		wantErr(t, ada.end(), nil)
	})
}

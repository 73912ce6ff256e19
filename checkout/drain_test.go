package checkout_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/inventory"
	"cartwheel/queue"
)

func TestDrain_drainingWaitsForWhatIsInFlight(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		s.add("bob", "book", 1)
		in := s.open(settings{})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)
		drained := make(chan error, 1)
		go func() {
			var err error
			if left := in.Drain(context.Background()); left != 0 {
				err = fmt.Errorf("%d were left", left)
			}
			drained <- err
		}()
		eventually(t, "new checkouts are refused", func() bool {
			return errors.Is(in.buy("nobody"), checkout.ErrDraining)
		})
		wantErr(t, in.buy("bob"), checkout.ErrDraining)
		select {
		case err := <-drained:
			t.Fatalf("drained with a checkout in flight: %v", err)
		default:
		}
		held.open(s.ledger.approve)
		wantErr(t, ada.end(), nil)
		wantErr(t, <-drained, nil)
		want(t, "bob's cart", s.inCart("bob"), "book×1")
	})
}

func TestDrain_nothingIsAdmittedOnceDrainingBegan(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		in := s.open(settings{})
		asked, answer := make(chan struct{}), make(chan struct{})
		in.till.available(func() error {
			close(asked)
			<-answer
			return nil
		})
		ada := in.begin("ada")
		<-asked // it came before the drain, and is not admitted yet
		in.Drain(t.Context())
		close(answer)
		wantErr(t, ada.end(), checkout.ErrDraining)
		want(t, "ada's cart", s.inCart("ada"), "book×1")
	})
}

func TestDrain_drainingLeavesToOthersWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		in := s.open(settings{Config: checkout.Config{Lease: time.Hour}})
		held := in.till.hold()
		var calls []*call
		const open = 20
		for i := range open {
			client := fmt.Sprint("client-", i)
			s.add(client, "book", 1)
			calls = append(calls, in.begin(client))
		}
		held.await(t, open)
		voiding := s.open(settings{idle: true})
		if !s.db.Embedded() { // there it would claim them all at once
			voiding.start()
		}

		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		left := in.Drain(ctx)
		begun := time.Now()
		want(t, "checkouts left", left, open)
		for _, c := range calls {
			wantErr(t, c.end(), checkout.ErrPending)
		}
		if s.db.Embedded() {
			want(t, "leases that are not over", s.number("SELECT COUNT(*) FROM checkout_journal WHERE lease_expires_at > "+s.db.Dialect().Now()), 0)
			want(t, "checkouts in flight", s.inFlight(), open)
			voiding.start()
		}
		s.quiet()
		if took := time.Since(begun); took > 20*time.Second { // the lease is a minute
			t.Errorf("another instance recovered them after %v, want it at once", took)
		}
		want(t, "held", s.held("book"), 0)

		for range 2 { // a repeat is harmless
			if left := in.Drain(ctx); left != 0 {
				t.Errorf("a repeat left %d", left)
			}
			if err := in.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		wantErr(t, in.buy("client-0"), checkout.ErrDraining)
	})
}

func TestDrain_drainingLeavesWhatIsRecoveredToOthers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		s.crash(settings{}, "ada")
		s.expireLeases()
		in := s.open(settings{Config: checkout.Config{Lease: time.Hour}})
		voids := in.till.holdVoids()
		if s.entry("ada").Epoch == 1 {
			voids.await(t, 1)
		}
		left := in.Drain(t.Context())
		if left != 1 {
			t.Errorf("left %d, want the one", left)
		}
		s.open(settings{})
		s.quiet()
		want(t, "ada's cart", s.inCart("ada"), "book×1")
	})
}

func TestDrain_whatIsStillQueuedWhenDrainingEndsIsNotBegun(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		s.decoys()
		st := newStall()
		in := s.open(settings{carts: &watchedCarts{lock: st.pass}})
		calls, waiting := st.occupy(in, reserves)
		ada := in.begin("ada")
		eventually(t, "the checkout waits in the queue", func() bool { return in.depth(reserves) == waiting+1 })
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			in.Drain(ended)
		}()
		wantErr(t, ada.end(), queue.ErrNotStarted)
		st.open()
		<-drained
		for _, c := range calls {
			if err := c.end(); !errors.Is(err, queue.ErrNotStarted) {
				wantErr(t, err, checkout.ErrPending)
			}
		}
		s.open(settings{})
		s.quiet()
		want(t, "ada's cart", s.inCart("ada"), "book×1")
	})
}

// A drain under load loses nothing that was answered, and leaves nothing to wait for.
func TestDrain_drainingUnderLoadIsClean(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const clients = 200
		s.stock("book", clients)
		var added []cart.ClientLine
		for i := range clients {
			added = append(added, cart.ClientLine{ClientID: fmt.Sprint("client-", i), Line: inventory.Line{ProductID: "book", Quantity: 1}})
		}
		s.addAll(added...)
		in := s.open(settings{})
		var calls []*call
		var mu sync.Mutex
		var loading sync.WaitGroup
		first := make(chan struct{}, clients)
		loading.Go(func() {
			for i := range clients {
				c := in.begin(fmt.Sprint("client-", i))
				mu.Lock()
				calls = append(calls, c)
				mu.Unlock()
				first <- struct{}{}
			}
		})
		for range clients / 4 {
			<-first
		}
		left := in.Drain(t.Context())
		if left != 0 {
			t.Errorf("left %d, want none", left)
		}
		loading.Wait()
		sold := 0
		for _, c := range calls {
			if err := c.end(); err == nil {
				sold++
			} else {
				wantErr(t, err, checkout.ErrDraining)
			}
		}
		want(t, "in flight", s.inFlight(), 0)
		want(t, "on hand", s.onHand("book"), int64(clients-sold))
	})
}

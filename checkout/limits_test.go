package checkout_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/queue"
)

func TestLimits_moreCheckoutsThanMayBeInFlightAreRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		for _, client := range []string{"ada", "bob", "cid"} {
			s.add(client, "book", 1)
		}
		in := s.open(settings{Config: checkout.Config{InFlight: 2}})
		held := in.till.hold()
		ada, bob := in.begin("ada"), in.begin("bob")
		held.await(t, 2)
		now, most := in.InFlight()
		want(t, "in flight", fmt.Sprint(now, most), "2 2")

		wantErr(t, in.buy("cid"), checkout.ErrBusy)
		ada.hangUp()
		wantErr(t, ada.end(), checkout.ErrPending)
		wantErr(t, in.buy("cid"), checkout.ErrBusy) // the place is kept to the checkout's end
		want(t, "cid's checkouts", len(s.entries(checkout.Filter{ClientID: "cid"})), 0)

		held.open(s.ledger.approve)
		wantErr(t, bob.end(), nil)
		eventually(t, "both places are free", func() bool { now, _ := in.InFlight(); return now == 0 })
		wantErr(t, in.buy("cid"), nil)
	})
}

func TestLimits_checkoutWhoseOwnerLostItKeepsItsPlaceToTheEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		s.add("bob", "book", 1)
		in := s.open(settings{Config: checkout.Config{InFlight: 1, Lease: 200 * time.Millisecond}})
		in.till.away()
		ada := in.begin("ada")
		eventually(t, "the checkout is claimed", func() bool {
			entries := s.entries(checkout.Filter{})
			return len(entries) == 1 && entries[0].Epoch > 1
		})
		wantErr(t, in.buy("bob"), checkout.ErrBusy)
		in.till.back()
		wantErr(t, ada.end(), checkout.ErrUnpaid)
		eventually(t, "the place is free", func() bool { now, _ := in.InFlight(); return now == 0 })
		wantErr(t, in.buy("bob"), nil)
	})
}

// Carts of hundreds of lines take more memory than the number of checkouts says.
func TestLimits_longCartsInFlightAreBoundedByTheirSize(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		s.add("bob", "book", 1)
		in := s.open(settings{})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)
		if size := in.LineBytes(); size < int64(len("book")) {
			t.Errorf("ada's lines take %d bytes", size)
		}
		in.AddLineBytes(checkout.MaxLineBytes) // as of other checkouts
		wantErr(t, in.buy("bob"), checkout.ErrBusy)
		want(t, "bob's checkouts", len(s.entries(checkout.Filter{ClientID: "bob"})), 0)
		if !in.Full() {
			t.Error("it says that it is not full")
		}
		held.open(s.ledger.approve)
		wantErr(t, ada.end(), nil)
		in.AddLineBytes(-checkout.MaxLineBytes)
		wantErr(t, in.buy("bob"), nil)
		eventually(t, "nothing is in flight", func() bool { return in.LineBytes() == 0 })
	})
}

// fullQueue is the capacity of a queue that the decoys fill.
const fullQueue = decoys / 2

func TestLimits_fullQueueRefusesAtOnceAndDoesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		s.decoys()
		st := newStall()
		in := s.open(settings{Config: checkout.Config{QueueCapacity: fullQueue}, carts: &watchedCarts{lock: st.pass}})
		calls, waiting := st.occupy(in, reserves)
		for ; waiting < fullQueue; waiting++ {
			calls = append(calls, in.begin(fmt.Sprintf("decoy-%02d", len(calls))))
		}
		eventually(t, "the queue is full", func() bool { return in.depth(reserves) == fullQueue })
		wantErr(t, in.buy("ada"), queue.ErrFull) // the queue is still full: the refusal did not wait for room
		st.open()
		allSold(t, calls)
		want(t, "ada's checkouts", len(s.entries(checkout.Filter{ClientID: "ada"})), 0)
		want(t, "ada's cart", s.inCart("ada"), "book×1")
	})
}

// Nothing is refused after TX 1: the settles of all that may be in flight have room.
func TestLimits_settlesAreNotRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 100)
		refused := atomic.Int64{}
		in := s.open(settings{Config: checkout.Config{
			QueueCapacity: 4, InFlight: 64, BatchSize: 1,
			ObserveSettle: queue.Observer{Refused: func(error) { refused.Add(1) }},
		}})
		held := in.till.hold()
		var calls []*call
		for i := range 64 {
			client := fmt.Sprint("client-", i)
			s.add(client, "book", 1)
			calls = append(calls, in.begin(client))
			held.await(t, 1) // one by one: the queue that leads to TX 1 is short
		}
		held.open(s.ledger.approve)
		allSold(t, calls)
		want(t, "on hand", s.onHand("book"), 36)
		want(t, "settles refused", refused.Load(), 0)
	})
}

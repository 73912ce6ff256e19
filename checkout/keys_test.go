package checkout_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/inventory"
	"cartwheel/payment"
	"cartwheel/queue"
)

// wantReplay checks that a repeat got, byte for byte, what the first request did, whose outcome is
// given.
func wantReplay(t tester, got, first error) {
	t.Helper()
	var replay *idempotency.Replay
	if !errors.As(got, &replay) {
		t.Errorf("answered %v, want a replay", got)
		return
	}
	withoutID := *replay
	withoutID.CheckoutID = ""
	if diff := cmp.Diff(replayOf(first), &withoutID); diff != "" {
		t.Errorf("replay (-want +got):\n%s", diff)
	}
}

func (s *shop) keyStatus(client string) int64 {
	s.t.Helper()
	return s.number("SELECT COALESCE(http_status, -1) FROM idempotency_key WHERE client_id = ?", client)
}

func TestKeys_isStoredWithTX1AndAnsweredWithTX2(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		answers := map[string]charge{
			"sold": s.ledger.approve, "declined": s.ledger.decline("no: funds"),
		}
		one, other := s.open(settings{}), s.open(settings{idle: true})
		for client, answer := range answers {
			s.add(client, "book", 2)
			held := one.till.hold()
			c := one.beginKeyed(client, "key")
			held.await(t, 1)
			want(t, "status during the payment", s.keyStatus(client), -1)
			want(t, "key in the journal", s.entry(client).IdempotencyKey, "key")
			held.open(answer)
			first := c.end()
			if status := present(first).Status; s.keyStatus(client) != int64(status) {
				t.Errorf("%s: status %d is stored with the outcome %v", client, s.keyStatus(client), first)
			}
			s.add(client, "book", 1) // a repeat buys nothing that came since
			for range 2 {
				wantReplay(t, one.beginKeyed(client, "key").end(), first)
				wantReplay(t, other.beginKeyed(client, "key").end(), first)
			}
			want(t, "checkouts", len(s.entries(checkout.Filter{ClientID: client})), 1)
		}
		one.till.back()
		wantErr(t, one.beginKeyed("sold", "another key").end(), nil)
		wantErr(t, one.beginKeyed("declined", "").end(), nil)
	})
}

func TestKeys_repeatsWaitForTheFirstAnswer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		one, other := s.open(settings{}), s.open(settings{idle: true})
		held := one.till.hold()
		first := one.beginKeyed("ada", "key")
		held.await(t, 1)
		repeats := []*call{one.beginKeyed("ada", "key"), other.beginKeyed("ada", "key")}
		first.hangUp() // they do not depend on the first caller
		wantErr(t, first.end(), checkout.ErrPending)
		eventually(t, "repeats that wait are not in flight", func() bool {
			here, _ := one.InFlight()
			there, _ := other.InFlight()
			return here == 1 && there == 0
		})
		for _, repeat := range repeats {
			if !repeat.waits() {
				t.Errorf("a repeat was answered %v while the first was under way", repeat.err)
			}
		}
		held.open(s.ledger.decline("no"))
		for _, repeat := range repeats {
			wantReplay(t, repeat.end(), &checkout.ReasonError{Err: checkout.ErrDeclined, Reason: "no"})
		}
		want(t, "charges", one.till.charged.Load()+other.till.charged.Load(), 1)
	})
}

func TestKeys_manyRepeatsOverTwoInstancesChargeOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 100)
		s.add("ada", "book", 2)
		instances := []*instance{s.open(settings{}), s.open(settings{idle: true})}
		var calls []*call
		for i := range 50 {
			calls = append(calls, instances[i%2].beginKeyed("ada", "key"))
		}
		firsts := 0
		for _, c := range calls {
			if err := c.end(); err == nil {
				firsts++
			} else {
				wantReplay(t, err, nil)
			}
		}
		want(t, "requests that were the first", firsts, 1)
		want(t, "charges", instances[0].till.charged.Load()+instances[1].till.charged.Load(), 1)
		want(t, "on hand", s.onHand("book"), 98)
	})
}

func TestKeys_repeatWhoseTimeIsOverNamesTheSameCheckout(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		one, other := s.open(settings{}), s.open(settings{idle: true})
		held := one.till.hold()
		first := one.beginKeyed("ada", "key")
		held.await(t, 1)
		for _, in := range []*instance{one, other} {
			var pending *checkout.PendingError
			if err := in.beginWithin(300*time.Millisecond, "ada", "key").end(); !errors.As(err, &pending) {
				t.Fatalf("answered %v, want that it is pending", err)
			}
			want(t, "the checkout that is pending", pending.CheckoutID, s.entry("ada").CheckoutID)
		}
		held.open(s.ledger.approve)
		wantErr(t, first.end(), nil)
	})
}

func TestKeys_refusalsAreStoredWithTheirKeys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("bob", "book", 6)
		in, other := s.open(settings{}), s.open(settings{idle: true})
		empty, short := in.beginKeyed("ada", "key").end(), in.beginKeyed("bob", "key").end()
		wantErr(t, empty, cart.ErrEmpty)
		wantErr(t, short, inventory.ErrNotEnough)

		s.add("ada", "book", 1)
		s.stock("book", 10)
		for _, instance := range []*instance{in, other} {
			wantReplay(t, instance.beginKeyed("ada", "key").end(), empty)
			wantReplay(t, instance.beginKeyed("bob", "key").end(), short)
		}
		wantErr(t, in.beginKeyed("ada", "another key").end(), nil)
		wantErr(t, in.beginKeyed("bob", "another key").end(), nil)
		want(t, "charges", in.till.charged.Load()+other.till.charged.Load(), 2)
	})
}

func TestKeys_instanceThatRefusesStillReplays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		s.decoys()
		for _, client := range []string{"ada", "bob", "eve"} {
			s.add(client, "book", 1)
		}
		worker := s.open(settings{})
		wantErr(t, worker.beginKeyed("ada", "key").end(), nil)
		held := worker.till.hold()
		bob := worker.beginKeyed("bob", "key")
		held.await(t, 1)

		drained, unpaid, busy := s.open(settings{idle: true}), s.open(settings{idle: true}), s.open(settings{Config: checkout.Config{InFlight: 1}, idle: true})
		drained.Drain(t.Context())
		unpaid.till.refuse(payment.ErrUnavailable)
		waiting := busy.till.hold()
		eve := busy.begin("eve")
		waiting.await(t, 1)

		for refusal, in := range map[error]*instance{checkout.ErrDraining: drained, payment.ErrUnavailable: unpaid, checkout.ErrBusy: busy} {
			wantReplay(t, in.beginKeyed("ada", "key").end(), nil)
			wantErr(t, in.beginKeyed("ada", "another key").end(), refusal)
		}
		// What is under way elsewhere is waited for.
		repeats := []*call{unpaid.beginKeyed("bob", "key"), busy.beginKeyed("bob", "key")}
		wantErr(t, drained.beginKeyed("bob", "key").end(), checkout.ErrPending)
		held.open(s.ledger.approve)
		wantErr(t, bob.end(), nil)
		for _, repeat := range repeats {
			wantReplay(t, repeat.end(), nil)
		}
		waiting.open(s.ledger.approve)
		wantErr(t, eve.end(), nil)
	})
}

func TestKeys_fullQueueStillReplays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		s.decoys()
		wantErr(t, s.open(settings{}).beginKeyed("ada", "key").end(), nil)
		st := newStall()
		in := s.open(settings{Config: checkout.Config{QueueCapacity: fullQueue}, carts: &watchedCarts{lock: st.pass}, idle: true})
		calls, waiting := st.occupy(in, reserves)
		for ; waiting < fullQueue; waiting++ {
			calls = append(calls, in.begin(fmt.Sprintf("decoy-%02d", len(calls))))
		}
		eventually(t, "the queue is full", func() bool { return in.depth(reserves) == fullQueue })
		wantReplay(t, in.beginKeyed("ada", "key").end(), nil)
		wantErr(t, in.beginKeyed("ada", "another key").end(), queue.ErrFull)
		st.open()
		allSold(t, calls)
	})
}

func TestKeys_recoveryAnswersTheKey(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		s.add("bob", "book", 1)
		old := s.open(settings{idle: true})
		held := old.till.pause()
		old.beginKeyed("ada", "key")
		old.beginKeyed("bob", "key")
		for _, id := range held.await(t, 2) {
			if id == s.entry("bob").CheckoutID { // charged, and the crash came before the answer
				if _, err := s.ledger.approve(t.Context(), payment.Order{CheckoutID: id}); err != nil {
					t.Fatal(err)
				}
			}
		}
		in := s.open(settings{idle: true})
		repeats := []*call{in.beginKeyed("ada", "key"), in.beginKeyed("bob", "key")}
		eventually(t, "the repeats wait", func() bool { return in.Waiting() == 2 })
		s.expireLeases()
		in.start()
		wantErr(t, repeats[0].end(), checkout.ErrUnpaid)
		wantReplay(t, repeats[1].end(), nil)
		want(t, "charges of the other instance", in.till.charged.Load(), 0)
		wantErr(t, in.beginKeyed("ada", "key").end(), nil) // the key is free: this is a new checkout
		want(t, "charges of the other instance", in.till.charged.Load(), 1)
	})
}

func TestKeys_refundAnswersTheKeyAtItsEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		in := s.open(settings{})
		held := in.till.hold()
		first := in.beginKeyed("ada", "key")
		held.await(t, 1)
		s.lower("book", 5)
		in.till.away()
		held.open(s.ledger.approve)
		eventually(t, "a refund is asked for", func() bool { return in.till.refunded.Load() > 0 })
		want(t, "status during the refund", s.keyStatus("ada"), -1)
		in.till.back()
		err := first.end()
		wantErr(t, err, checkout.ErrRefunded)
		wantReplay(t, in.beginKeyed("ada", "key").end(), err)
	})
}

func TestKeys_isItsClientsAlone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		in := s.open(settings{})
		for _, client := range []string{"ada", "Ada", "bob"} {
			s.add(client, "book", 1)
			wantErr(t, in.beginKeyed(client, "key").end(), nil)
		}
		want(t, "on hand", s.onHand("book"), 2)
	})
}

func TestKeys_repeatThatIsDrainedAwayIsPending(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 1)
		one, other := s.open(settings{}), s.open(settings{idle: true})
		held := one.till.hold()
		first := one.beginKeyed("ada", "key")
		held.await(t, 1)
		repeat := other.beginKeyed("ada", "key")
		other.Drain(t.Context())
		wantErr(t, repeat.end(), checkout.ErrPending)
		held.open(s.ledger.approve)
		wantErr(t, first.end(), nil)
	})
}

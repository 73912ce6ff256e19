package checkout_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/payment"
	"cartwheel/queue"
)

func TestCancel_instancesAtOnceRestockOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		first, id := s.sold(settings{})
		second := s.open(settings{})
		var calls []*cancelCall
		for range 20 {
			calls = append(calls, first.beginCancel(id), second.beginCancel(id))
		}
		for _, c := range calls {
			wantErr(t, c.end(), nil)
		}
		s.wantCancelled(id)
		want(t, "epoch", s.entry("ada").Epoch, 2)
		want(t, "refunds", s.ledger.of(id).refunds, 1)
	})
}

func TestCancel_repeatWaitsForTheOwnersEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		owner, id := s.sold(settings{})
		other := s.open(settings{})
		for _, end := range []struct {
			refunds func(context.Context, string) (payment.Result, error)
			reason  string
		}{{refuse("no"), "refund refused: no"}, {s.ledger.refund, ""}} {
			refund := owner.till.gate(false)
			owner.till.refunds(func(ctx context.Context, id string) (payment.Result, error) {
				if err := refund.pass(ctx, id); err != nil {
					return payment.Result{}, err
				}
				return end.refunds(ctx, id)
			})
			calls := []*cancelCall{owner.beginCancel(id)}
			refund.await(t, 1)
			calls = append(calls, owner.beginCancel(id), other.beginCancel(id))
			eventually(t, "both repeats wait", func() bool { return owner.Waiting()+other.Waiting() == 2 })
			refund.open(nil)
			for _, c := range calls {
				if err := c.end(); end.reason == "" {
					wantErr(t, err, nil)
				} else {
					wantNotCancellable(t, err, end.reason)
				}
			}
		}
		s.wantCancelled(id)
		want(t, "refunds that the other one asked for", other.till.refunded.Load(), 0)
	})
}

func TestCancel_goesOnWithoutItsCaller(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{Config: checkout.Config{InFlight: 2}})
		refund := in.till.holdRefunds()
		first := in.beginCancel(id)
		refund.await(t, 1)
		second, third, fourth := in.beginCancel(id), in.beginCancel(id), in.beginCancel(id)
		// As many wait as may be in flight; the other one is answered at once.
		eventually(t, "two repeats wait", func() bool {
			answered := 0
			for _, c := range []*cancelCall{second, third, fourth} {
				select {
				case <-c.done:
					answered++
				default:
				}
			}
			return answered == 1 && in.Waiting() == 2
		})
		for _, c := range []*cancelCall{first, second, third, fourth} {
			c.hangUp()
			wantCancelPending(t, c.end(), id)
		}
		now, _ := in.InFlight()
		want(t, "in flight", now, 1) // repeats that wait occupy no place
		refund.open(nil)
		s.quiet()
		s.wantCancelled(id)
		wantErr(t, in.cancel(id), nil)
	})
}

// wantCancelPending checks that a cancellation's end is not known yet.
func wantCancelPending(t tester, err error, id string) {
	t.Helper()
	wantErr(t, err, checkout.ErrPending)
	want(t, "answer", err.Error(), (&checkout.PendingError{CheckoutID: id, Cancelling: true}).Error())
}

func TestCancel_repeatsBeyondTheLimitArePendingAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{Config: checkout.Config{InFlight: 1}})
		refund := in.till.holdRefunds()
		calls := []*cancelCall{in.beginCancel(id)}
		refund.await(t, 1)
		calls = append(calls, in.beginCancel(id))
		eventually(t, "the repeat waits", func() bool { return in.Waiting() == 1 })
		wantCancelPending(t, in.cancel(id), id)
		s.add("bob", "book", 1)
		wantErr(t, in.buy("bob"), checkout.ErrBusy)
		refund.open(nil)
		for _, c := range calls {
			wantErr(t, c.end(), nil)
		}
		eventually(t, "its place is free", func() bool { now, _ := in.InFlight(); return now == 0 })
		held := in.till.hold()
		bob := in.begin("bob")
		held.await(t, 1)
		wantErr(t, in.cancel(id), nil) // what is known needs no place
		held.open(s.ledger.decline("no"))
		wantErr(t, bob.end(), checkout.ErrDeclined)
	})
}

func TestCancel_isRefusedWithoutAPlace(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{Config: checkout.Config{InFlight: 1}})
		s.add("bob", "book", 1)
		held := in.till.hold()
		bob := in.begin("bob")
		held.await(t, 1)
		wantErr(t, in.cancel(id), checkout.ErrBusy)
		held.open(s.ledger.decline("no"))
		wantErr(t, bob.end(), checkout.ErrDeclined)
		s.wantSold()
		want(t, "epoch", s.entry("ada").Epoch, 1)
	})
}

func TestCancel_refundThatIsNotAnsweredIsAskedForUntilItIs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{Config: checkout.Config{Lease: 300 * time.Millisecond}})
		in.till.away()
		wantCancelPending(t, in.beginCancelWithin(200*time.Millisecond, id).end(), id)
		waiting := in.beginCancel(id)
		eventually(t, "recovery claims it again and again", func() bool { return s.entry("ada").Epoch >= 4 })
		want(t, "state", s.entry("ada").State, checkout.Cancelling)
		want(t, "books on hand", s.onHand("book"), 3)
		in.till.back()
		wantErr(t, waiting.end(), nil)
		s.wantCancelled(id)
	})
}

func TestCancel_recoveryTakesARefusalForAnEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		old, id := s.sold(settings{idle: true})
		old.till.away()
		first := old.beginCancel(id)
		eventually(t, "the refund is asked for", func() bool { return old.till.refunded.Load() > 1 })
		s.expireLeases()
		recovered := make(chan checkout.State, 8)
		s.open(settings{
			Config: checkout.Config{ObserveRecovery: func(state checkout.State) { recovered <- state }},
			till:   s.ledger.till().refunds(refuse("too late")),
		})
		s.quiet()
		s.wantSold()
		want(t, "observed", <-recovered, checkout.Committed)
		old.start()
		old.till.refunds(refuse("too late")) // the old owner changes nothing
		wantNotCancellable(t, first.end(), "refund refused: too late")
		want(t, "epoch", s.entry("ada").Epoch, 3)
	})
}

// An owner that wakes up after its lease finds what others have made of it.
func TestCancel_ownerPastItsLeaseRestocksNothing(t *testing.T) {
	t.Parallel()
	for name, ended := range map[string]bool{"cancelled": true, "still cancelling": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, s *shop) {
				done := make(batches, 1<<10)
				old, id := s.sold(settings{Config: checkout.Config{ObserveSettle: done.observer()}, idle: true})
				paused := old.till.gate(true)
				old.till.refunds(func(ctx context.Context, id string) (payment.Result, error) {
					if err := paused.pass(ctx, id); err != nil {
						return payment.Result{}, err
					}
					return s.ledger.refund(ctx, id)
				})
				call := old.beginCancel(id)
				paused.await(t, 1)
				done.forget()
				s.expireLeases()
				heir := s.ledger.till()
				refund := heir.holdRefunds()
				s.open(settings{till: heir})
				refund.await(t, 1)
				if ended {
					refund.open(nil)
					s.quiet()
				}
				paused.open(nil)
				done.await(t)
				if !ended {
					e := s.entry("ada")
					want(t, "state", e.State, checkout.Cancelling)
					want(t, "epoch", e.Epoch, 3)
					want(t, "books on hand", s.onHand("book"), 3)
					refund.open(nil)
					s.quiet()
				}
				old.start()
				wantErr(t, call.end(), nil)
				s.wantCancelled(id)
			})
		})
	}
}

// A checkout's first owner may learn of the sale after its cancellation.
func TestCancel_isNoEndOfTheCheckoutsOwnCall(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 5)
		s.add("ada", "book", 2)
		old := s.open(settings{idle: true})
		held := old.till.gate(true)
		old.till.charges(func(ctx context.Context, order payment.Order) (payment.Result, error) {
			if _, err := s.ledger.approve(ctx, order); err != nil {
				return payment.Result{}, err
			}
			return held.charge(ctx, order)
		})
		ada := old.begin("ada")
		id := held.await(t, 1)[0]
		s.expireLeases()
		in := s.open(settings{})
		s.quiet()
		wantErr(t, in.cancel(id), nil)
		old.start()
		held.open(s.ledger.approve)
		wantErr(t, ada.end(), nil)
		want(t, "on hand", s.onHand("book"), 5)
	})
}

func TestCancel_drainWaitsForIt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{})
		s.add("ada", "book", 1)
		second := in.begin("ada")
		wantErr(t, second.end(), nil)
		refund := in.till.holdRefunds()
		call := in.beginCancel(id)
		refund.await(t, 1)
		repeat := in.beginCancel(id)
		eventually(t, "the repeat waits", func() bool { return in.Waiting() == 1 })
		drained := make(chan int, 1)
		go func() { drained <- in.Drain(context.Background()) }()
		eventually(t, "new ones are refused", func() bool { return errors.Is(in.buy("nobody"), checkout.ErrDraining) })
		wantErr(t, in.cancel(second.id), checkout.ErrDraining)
		want(t, "drains", len(drained), 0)
		refund.open(nil)
		wantErr(t, call.end(), nil)
		want(t, "left", <-drained, 0)
		if err := repeat.end(); err != nil { // it may have been told that this instance ends
			wantCancelPending(t, err, id)
		}
		want(t, "books on hand", s.onHand("book"), 4)
	})
}

func TestCancel_drainLeavesItToOthersAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const open = 5
		s.stock("book", open)
		in := s.open(settings{Config: checkout.Config{Lease: time.Hour}})
		refund := in.till.holdRefunds()
		var calls []*cancelCall
		var ids []string
		for i := range open {
			client := fmt.Sprint("client-", i)
			s.add(client, "book", 1)
			buy := in.begin(client)
			wantErr(t, buy.end(), nil)
			ids = append(ids, buy.id)
			calls = append(calls, in.beginCancel(buy.id))
		}
		refund.await(t, open)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		want(t, "left", in.Drain(ended), open)
		for i, c := range calls {
			wantCancelPending(t, c.end(), ids[i])
		}
		other := s.open(settings{})
		s.quiet()
		want(t, "on hand", s.onHand("book"), open)
		for _, id := range ids {
			wantErr(t, other.cancel(id), nil)
			want(t, "refunded", s.ledger.of(id).refunded, true)
		}
	})
}

// A cancellation that waits in the queue when its caller leaves is not begun.
func TestCancel_whatWasNotStartedIsNotBegun(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.decoys()
		st := newStall()
		var stalled atomic.Bool
		in, id := s.sold(settings{stock: &watchedStock{commit: func(sales int) {
			if stalled.Load() {
				st.pass(sales)
			}
		}}})
		stalled.Store(true)
		decoys, waiting := st.occupy(in, settles)
		call := in.beginCancel(id)
		eventually(t, "the cancellation waits in the queue", func() bool { return in.depth(settles) == waiting+1 })
		call.hangUp()
		wantErr(t, call.end(), queue.ErrNotStarted)
		stalled.Store(false)
		st.open()
		allSold(t, decoys)
		s.wantSold()
	})
}

func TestCancel_beginsOnceInABatch(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.decoys()
		st := newStall()
		var stalled atomic.Bool
		in, id := s.sold(settings{stock: &watchedStock{commit: func(sales int) {
			if stalled.Load() {
				st.pass(sales)
			}
		}}})
		stalled.Store(true)
		decoys, waiting := st.occupy(in, settles)
		calls := []*cancelCall{in.beginCancel(id), in.beginCancel(id), in.beginCancel(id)}
		eventually(t, "all wait in the queue", func() bool { return in.depth(settles) == waiting+len(calls) })
		stalled.Store(false)
		st.open()
		allSold(t, decoys)
		for _, c := range calls {
			wantErr(t, c.end(), nil)
		}
		s.wantCancelled(id)
		want(t, "refunds", s.ledger.of(id).refunds, 1)
	})
}

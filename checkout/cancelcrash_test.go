package checkout_test

import (
	"context"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/payment"
)

// cancelPoints are the points that a cancellation comes by, in their order.
var cancelPoints = []point{beforeRefund, afterRefund, inTX2, afterRestock}

func TestCancel_crashAtAnyPointRestocksOnce(t *testing.T) {
	t.Parallel()
	for _, owner := range cancelPoints {
		for _, heir := range append([]point{""}, cancelPoints...) {
			name := "owner dies " + string(owner)
			if heir != "" {
				name += ", its heir " + string(heir)
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				each(t, func(_ *testing.T, s *shop) { s.crashCancelling(owner, heir) })
			})
		}
	}
}

// crashCancelling lets the owner of a cancellation die at a point, then the one who recovers it at
// another. A third one ends it.
func (s *shop) crashCancelling(owner, heir point) {
	s.t.Helper()
	alive := newLife()
	in, id := s.sold(s.mortal(alive))
	if owner == inTX2 { // the second one: the first begins the cancellation
		in.till.refunds(func(ctx context.Context, id string) (payment.Result, error) {
			alive.endsAt(owner)
			return s.ledger.refund(ctx, id)
		})
	} else {
		alive.endsAt(owner)
	}
	call := in.beginCancel(id)
	alive.await(s.t)
	s.wantCancelling()
	in.bury()
	wantCancelPending(s.t, call.end(), id)
	if heir != "" {
		alive = newLife()
		alive.endsAt(heir)
		in := s.open(s.mortal(alive))
		alive.await(s.t)
		s.wantCancelling()
		in.bury()
	}
	last := s.open(settings{})
	s.quiet()
	s.wantCancelled(id)
	wantErr(s.t, last.cancel(id), nil)
}

// mortal are the settings of an instance with a life.
func (s *shop) mortal(alive *life) settings {
	till := s.ledger.till().charges(s.ledger.approve).mortal(alive)
	return settings{till: till, stock: &watchedStock{life: alive}, carts: &watchedCarts{life: alive}}
}

// bury ends what a dead instance still does: its leases, which end by themselves as well.
func (in *instance) bury() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	in.Drain(ended)
}

// wantCancelling checks that ada's cancellation has begun, and has restocked nothing.
func (s *shop) wantCancelling() {
	s.t.Helper()
	want(s.t, "state", s.entry("ada").State, checkout.Cancelling)
	want(s.t, "books on hand", s.onHand("book"), 3)
	want(s.t, "pens on hand", s.onHand("pen"), 2)
}

func TestCancel_crashBeforeItBeginsChangesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		alive := newLife()
		in, id := s.sold(s.mortal(alive))
		alive.endsAt(inTX2) // there it begins as well
		wantErr(t, in.cancel(id), errDead)
		in.bury()
		s.wantSold()
		want(t, "refunds", s.ledger.of(id).refunds, 0)
		wantErr(t, s.open(settings{}).cancel(id), nil)
		s.wantCancelled(id)
	})
}

func TestCancel_crashWithARefusalLeavesItCommitted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		alive := newLife()
		in, id := s.sold(s.mortal(alive))
		in.till.refunds(func(ctx context.Context, id string) (payment.Result, error) {
			alive.endsAt(inTX2)
			return refuse("no")(ctx, id)
		})
		call := in.beginCancel(id)
		alive.await(t)
		s.wantCancelling()
		in.bury()
		wantCancelPending(t, call.end(), id)
		s.open(settings{till: s.ledger.till().refunds(refuse("no"))})
		s.quiet()
		s.wantSold()
	})
}

// What another owner does between the look at the claim and the move is seen by the move: then
// nothing is restocked.
func TestCancel_restockIsRolledBackWithItsMove(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]string{
		"another epoch": "epoch = epoch + 1",
		"another state": "state = 'cancelled', lease_expires_at = NULL",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			databasetest.EachServer(t, func(t *testing.T, db *database.DB) { // the embedded engine has one writer
				s := newShop(t, db)
				restocks := 0
				in, id := s.sold(settings{stock: &watchedStock{restocked: func() {
					if restocks++; restocks == 1 {
						s.exec("UPDATE checkout_journal SET " + other)
					}
				}}})
				call := in.beginCancel(id)
				if name == "another epoch" {
					eventually(t, "its owner has lost it", func() bool { return in.Waiting() == 1 })
					s.wantCancelling()
					s.expireLeases()
					wantErr(t, call.end(), nil)
					s.wantCancelled(id)
					return
				}
				wantErr(t, call.end(), nil)
				want(t, "books on hand", s.onHand("book"), 3)
				want(t, "pens on hand", s.onHand("pen"), 2)
				s.exec("UPDATE product_details SET quantity = 5") // as the other one would have done
			})
		})
	}
}

func TestCancel_lostAnswerToACommitIsFoundOut(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for name, fate := range fates() {
			for _, transaction := range []string{"beginning", "end", "refused end"} {
				t.Run(transaction+", "+name, func(t *testing.T) {
					t.Parallel()
					s, p, db := behindProxy(t, flavour)
					in, id := s.sold(settings{db: db})
					in.till.refunds(func(ctx context.Context, id string) (payment.Result, error) {
						if transaction != "beginning" {
							p.Next(fate())
						}
						if transaction == "refused end" {
							return refuse("no")(ctx, id)
						}
						return s.ledger.refund(ctx, id)
					})
					if transaction == "beginning" {
						p.Next(fate())
					}
					err := in.cancel(id)
					if transaction == "refused end" {
						wantNotCancellable(t, err, "refund refused: no")
						s.wantSold()
					} else {
						wantErr(t, err, nil)
						s.wantCancelled(id)
					}
					want(t, "refunds", in.till.refunded.Load(), 1)
					counts := p.Counts()
					want(t, "commits that were lost", counts.CutBefore+counts.CutAfter+counts.Held, 1)
				})
			}
		}
	})
}

func TestCancel_endsWhenTheDatabaseIsBack(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		s, p, db := behindProxy(t, flavour)
		in, id := s.sold(settings{db: db})
		p.Away(true)
		wantErr(t, in.cancel(id), database.ErrUnavailable)
		p.Away(false)
		s.wantSold()

		refund := in.till.holdRefunds()
		call := in.beginCancelWithin(3*patience, id)
		refund.await(t, 1)
		p.Away(true)
		refund.open(nil)
		eventually(t, "its end meets the outage", func() bool { return in.till.refunded.Load() == 1 })
		s.wantCancelling()
		p.Away(false)
		wantErr(t, call.end(), nil)
		s.wantCancelled(id)
	})
}

func TestCancel_leaseIsByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const lease = time.Hour
		in, id := s.sold(settings{Config: checkout.Config{Lease: lease}})
		refund := in.till.holdRefunds()
		call := in.beginCancel(id)
		refund.await(t, 1)
		d := s.db.Dialect()
		want(t, "leases of the right length", s.number("SELECT COUNT(*) FROM checkout_journal WHERE lease_expires_at > "+
			d.NowPlus(lease-time.Minute)+" AND lease_expires_at <= "+d.NowPlus(lease)), 1)
		refund.open(nil)
		wantErr(t, call.end(), nil)
	})
}

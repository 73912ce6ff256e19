package checkout_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
	"cartwheel/payment"
)

func TestCancel_productThatIsGoneIsRecreatedWithoutAName(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{})
		s.exec("DELETE FROM product_details WHERE product_id = 'book'")
		s.mu.Lock()
		s.stocked["book"] = 2 // the others went with the row
		s.mu.Unlock()
		wantErr(t, in.cancel(id), nil)
		want(t, "books on hand", s.onHand("book"), 2)
		want(t, "pens on hand", s.onHand("pen"), 5)
		want(t, "rows without a name", s.number("SELECT COUNT(*) FROM product_details WHERE product_name IS NULL"), 1)
		want(t, "state", s.entry("ada").State, checkout.Cancelled)
	})
}

func TestCancel_unitsBeyondTheMaximumAreLost(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{})
		s.stock("book", inventory.MaxOnHand-4) // 3 are on hand: one more fits
		wantErr(t, in.cancel(id), nil)
		want(t, "books on hand", s.onHand("book"), inventory.MaxOnHand)
		want(t, "pens on hand", s.onHand("pen"), 5)
		s.mu.Lock()
		s.stocked["book"]-- // it is in the log
		s.mu.Unlock()
	})
}

// What is cancelled and what is sold in one batch is settled together, also where the sale needs
// the cancelled units.
func TestCancel_isSettledTogetherWithSales(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.decoys()
		const each = 5
		s.stock("book", 2*each)
		st, done := newStall(), make(batches, 1<<10)
		var stalled atomic.Bool
		in := s.open(settings{
			Config: checkout.Config{ObserveSettle: done.observer()},
			stock: &watchedStock{commit: func(sales int) {
				if stalled.Load() {
					st.pass(sales)
				}
			}},
		})
		var ids []string
		for i := range each {
			s.add(fmt.Sprint("cancels-", i), "book", 1)
			buy := in.begin(fmt.Sprint("cancels-", i))
			wantErr(t, buy.end(), nil)
			ids = append(ids, buy.id)
		}
		held := in.till.hold()
		in.till.charges(func(ctx context.Context, order payment.Order) (payment.Result, error) {
			if strings.HasPrefix(order.ClientID, "decoy") {
				return s.ledger.approve(ctx, order)
			}
			return held.charge(ctx, order)
		})
		var sales []*call
		for i := range each {
			s.add(fmt.Sprint("buys-", i), "book", 1)
			sales = append(sales, in.begin(fmt.Sprint("buys-", i)))
		}
		held.await(t, each)
		refund := in.till.holdRefunds()
		var cancels []*cancelCall
		for _, id := range ids {
			cancels = append(cancels, in.beginCancel(id))
		}
		refund.await(t, each)
		s.lower("book", each) // the sales need what is cancelled
		stalled.Store(true)
		decoys, waiting := st.occupy(in, settles)
		done.forget()
		refund.open(nil)
		held.open(s.ledger.approve)
		jobs := 2*each + waiting
		eventually(t, "all wait", func() bool { return in.depth(settles) == jobs })
		stalled.Store(false)
		st.open()
		allSold(t, decoys)
		allSold(t, sales)
		for _, c := range cancels {
			wantErr(t, c.end(), nil)
		}
		want(t, "on hand", s.onHand("book"), 0)
		done.together(t, checkout.Workers, jobs, jobs+len(decoys)-waiting)
	})
}

func TestCancel_lockedProductDelaysItsOwnCancellationAlone(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		done := make(batches, 1<<10)
		in, id := s.sold(settings{Config: checkout.Config{ObserveSettle: done.observer()}})
		s.stock("free", 5)
		s.add("bob", "free", 1)
		s.add("cid", "free", 1)
		bob := in.begin("bob")
		wantErr(t, bob.end(), nil)
		done.forget()
		unlock := s.lockRows(t, "SELECT * FROM product_details WHERE product_id = 'book'")
		ada := in.beginCancel(id)
		done.waitedInVain(t)
		done.doesNotWait(t)
		done.forget()
		wantErr(t, in.cancel(bob.id), nil)
		wantErr(t, in.buy("cid"), nil)
		done.wantNoWait(t, "the others")
		want(t, "state", s.entry("ada").State, checkout.Cancelling)
		want(t, "pens on hand", s.onHand("pen"), 2)
		want(t, "refunds", s.ledger.of(id).refunds, 1)
		unlock()
		wantErr(t, ada.end(), nil)
		s.wantCancelled(id)
	})
}

// When the lease of a cancellation that a lock delays is over, recovery goes on with it.
func TestCancel_lockedProductIsWaitedForByRecoveryToo(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		in, id := s.sold(settings{Config: checkout.Config{Lease: time.Second}})
		unlock := s.lockRows(t, "SELECT * FROM product_details WHERE product_id = 'pen'")
		call := in.beginCancelWithin(2*patience, id)
		eventually(t, "it is claimed again", func() bool { return s.entry("ada").Epoch >= 3 })
		want(t, "books on hand", s.onHand("book"), 3)
		unlock()
		wantErr(t, call.end(), nil)
		s.wantCancelled(id)
	})
}

func TestCancel_lockedJournalRowRefusesItsOwnCancellationAlone(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		s := newShop(t, db)
		in, id := s.sold(settings{})
		s.add("bob", "book", 1)
		bob := in.begin("bob")
		wantErr(t, bob.end(), nil)
		unlock := s.lockRows(t, "SELECT * FROM checkout_journal WHERE checkout_id = ?", id)
		began := time.Now()
		wantErr(t, in.cancel(id), database.ErrRowLocked)
		if took := time.Since(began); took > 3*lockWait {
			t.Errorf("refused after %v", took)
		}
		wantErr(t, in.cancel(bob.id), nil)
		want(t, "refunds", in.till.refunded.Load(), 1)
		unlock()
		wantErr(t, in.cancel(id), nil)
		s.wantCancelled(id)
	})
}

func TestCancel_eventIsDueWithItsEndWhereAWebhookIsConfigured(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		for client, events := range map[string]bool{"ada": true, "bob": false} {
			s.stock("book", 1)
			s.add(client, "book", 1)
			in := s.open(settings{Config: checkout.Config{Events: events}})
			buy := in.begin(client)
			wantErr(t, buy.end(), nil)
			due := func() bool {
				return s.number("SELECT COUNT(*) FROM checkout_journal WHERE client_id = ? AND cancelled_event_due_at <= "+
					s.db.Dialect().Now(), client) == 1
			}
			refused := false
			in.till.refunds(func(ctx context.Context, id string) (payment.Result, error) {
				want(t, "due during the refund", due(), false)
				if refused = !refused; refused {
					return refuse("no")(ctx, id)
				}
				return s.ledger.refund(ctx, id)
			})
			wantErr(t, in.cancel(buy.id), checkout.ErrNotCancellable)
			want(t, "due after a refusal", due(), false)
			wantErr(t, in.cancel(buy.id), nil)
			want(t, "due at the end", due(), events)
		}
	})
}

func TestAudit_knowsCancellations(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{})
		refund := in.till.holdRefunds()
		call := in.beginCancel(id)
		refund.await(t, 1)
		report := in.auditPayments()
		want(t, "open", report.Open, 1)
		want(t, "payments asked for", report.Payments, 0) // it is in flight
		want(t, "sound", report.Sound(), true)
		refund.open(nil)
		wantErr(t, call.end(), nil)
		report = in.auditPayments()
		want(t, "payments asked for", report.Payments, 1)
		want(t, "sound", report.Sound() && len(report.Notes) == 0, true)

		unrefunded := func(is bool) {
			s.ledger.mu.Lock()
			defer s.ledger.mu.Unlock()
			s.ledger.account(id).refunded = !is
		}
		unrefunded(true)
		for name, lookup := range map[string]func(context.Context, string) (payment.Payment, error){
			"lookups": nil, "no lookups": noLookup,
		} {
			in.till.lookups(lookup)
			if got := found(in.auditPayments()); len(got) != 1 || got[0] != "payment: "+id {
				t.Errorf("%s: found %v", name, got)
			}
		}
		unrefunded(false)
		in.till.lookups(nil)
	})
}

// A reservation of a cancelled checkout is an inconsistency, and so is an overdue cancellation.
func TestAudit_findsWhatCancellationsMustNotLeave(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, id := s.sold(settings{idle: true})
		in.till.away()
		call := in.beginCancelWithin(time.Second, id)
		wantErr(t, call.end(), checkout.ErrPending)
		s.exec("INSERT INTO reserve_purchase (reserve_id, product_id, quantity) VALUES (?, 'book', 2)", inventory.ReserveID(id, 1))
		s.exec("UPDATE checkout_journal SET lease_expires_at = " + s.db.Dialect().NowPlus(-time.Minute))
		want(t, "found", fmt.Sprint(found(s.audit())), fmt.Sprint([]string{"overdue: " + id, "reserved: " + inventory.ReserveID(id, 1)}))
		s.exec("DELETE FROM reserve_purchase")
		s.open(settings{})
		s.quiet()
		s.wantCancelled(id)
		wantErr(t, in.cancel(id), nil)
	})
}

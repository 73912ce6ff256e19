package checkout_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/checkout"
	"cartwheel/payment"
)

// auditPayments audits with the instance's payment service.
func (in *instance) auditPayments() checkout.Report {
	in.s.t.Helper()
	report := in.s.audit()
	if err := checkout.AuditPayments(context.Background(), in.s.db, in.till, &report); err != nil {
		in.s.t.Fatal(err)
	}
	return report
}

// soldAndDeclined is a shop with a committed checkout of ada and a declined one of bob.
func soldAndDeclined(t *testing.T, s *shop) (in *instance, committed, declined string) {
	t.Helper()
	s.stock("book", 10)
	s.add("ada", "book", 1)
	s.add("bob", "book", 1)
	in = s.open(settings{})
	wantErr(t, in.buy("ada"), nil)
	in.till.charges(s.ledger.decline(""))
	wantErr(t, in.buy("bob"), checkout.ErrDeclined)
	return in, s.entry("ada").CheckoutID, s.entry("bob").CheckoutID
}

func TestAuditPayments_findsChargesThatContradictTheJournal(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, unpaid, charged := soldAndDeclined(t, s)
		swap := func(swapped bool) {
			s.ledger.mu.Lock()
			defer s.ledger.mu.Unlock()
			s.ledger.account(unpaid).captured = !swapped
			s.ledger.account(charged).captured = swapped
		}
		swap(true)
		report := in.auditPayments()
		if diff := cmp.Diff(sorted([]string{"payment: " + unpaid, "payment: " + charged}), found(report)); diff != "" {
			t.Errorf("inconsistencies (-want +got):\n%s", diff)
		}
		want(t, "payments", report.Payments, 2)
		swap(false)
	})
}

func TestAuditPayments_comparesTheLines(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, committed, _ := soldAndDeclined(t, s)
		in.till.lookups(func(ctx context.Context, id string) (payment.Payment, error) {
			found, err := s.ledger.lookup(ctx, id)
			if id == committed {
				found.Items = []payment.Item{{ProductID: "book", Quantity: 2}}
			}
			return found, err
		})
		if diff := cmp.Diff([]string{"payment: " + committed}, found(in.auditPayments())); diff != "" {
			t.Errorf("inconsistencies (-want +got):\n%s", diff)
		}
	})
}

func TestAuditPayments_notesARefundMadeAtThePaymentService(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, committed, _ := soldAndDeclined(t, s)
		refunded := func(refunded bool) {
			s.ledger.mu.Lock()
			defer s.ledger.mu.Unlock()
			s.ledger.account(committed).refunded = refunded
		}
		refunded(true)
		for name, lookup := range map[string]func(context.Context, string) (payment.Payment, error){
			"lookups": nil, "no lookups": noLookup,
		} {
			in.till.lookups(lookup)
			report := in.auditPayments()
			if !report.Sound() || len(report.Notes) != 1 || report.Notes[0].What != committed {
				t.Errorf("%s: found %v, noted %v", name, found(report), report.Notes)
			}
		}
		refunded(false)
		in.till.lookups(nil)
	})
}

func TestAuditPayments_goesOnAfterACallThatFails(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in, committed, declined := soldAndDeclined(t, s)
		s.ledger.mu.Lock()
		s.ledger.account(declined).captured = true
		s.ledger.mu.Unlock()
		in.till.lookups(func(ctx context.Context, id string) (payment.Payment, error) {
			if id == committed {
				return payment.Payment{}, errLost
			}
			return s.ledger.lookup(ctx, id)
		})
		report := in.auditPayments()
		if diff := cmp.Diff(sorted([]string{"gateway: " + committed, "payment: " + declined}), found(report)); diff != "" {
			t.Errorf("inconsistencies (-want +got):\n%s", diff)
		}
		in.till.lookups(nil)
		s.ledger.mu.Lock()
		s.ledger.account(declined).captured = false
		s.ledger.mu.Unlock()
	})
}

func TestAuditPayments_asksConcurrently(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		in := s.open(settings{})
		s.stock("book", 10)
		for i := range 3 {
			client := fmt.Sprint("client-", i)
			s.add(client, "book", 1)
			wantErr(t, in.buy(client), nil)
		}
		var asked atomic.Int64
		all := make(chan struct{})
		in.till.lookups(func(ctx context.Context, id string) (payment.Payment, error) {
			if asked.Add(1) == 3 {
				close(all)
			}
			select { // each call waits for the other two
			case <-all:
			case <-time.After(patience):
				return payment.Payment{}, errors.New("the calls come one by one")
			}
			return s.ledger.lookup(ctx, id)
		})
		if report := in.auditPayments(); !report.Sound() {
			t.Errorf("found %v", report.Inconsistencies)
		}
		in.till.lookups(nil)
	})
}

func TestAudit_listsEveryOverdueCheckout(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 10)
		s.add("ada", "book", 1)
		s.add("bob", "book", 1)
		s.crash(settings{}, "ada", "bob")
		// One is claimed again and again and cannot end; the other one is claimed by nobody.
		d := s.db.Dialect()
		s.exec("UPDATE checkout_journal SET epoch = 7, updated_at = " + d.Now() + ", lease_expires_at = " + d.NowPlus(time.Minute) +
			" WHERE client_id = 'ada'")
		s.exec("UPDATE checkout_journal SET lease_expires_at = " + d.NowPlus(-time.Minute) + " WHERE client_id = 'bob'")
		if diff := cmp.Diff([]string{"overdue: " + s.entry("bob").CheckoutID}, found(s.audit())); diff != "" {
			t.Errorf("inconsistencies (-want +got):\n%s", diff)
		}
		s.expireLeases()
		s.open(settings{})
		s.quiet()
	})
}

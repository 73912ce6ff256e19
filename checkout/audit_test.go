package checkout_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/inventory"
	"cartwheel/payment"
)

func (s *shop) audit() checkout.Report {
	s.t.Helper()
	report, err := checkout.Audit(context.Background(), s.db)
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}

// found is what a report says, as "rule: what", sorted.
func found(v checkout.Report) []string {
	said := []string{}
	for _, b := range v.Inconsistencies {
		said = append(said, fmt.Sprintf("%s: %s", b.Rule, b.What))
	}
	slices.Sort(said)
	return said
}

func TestAudit_findsNothingInCleanTables(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 10)
		s.stock("pen", 1)
		for _, client := range []string{"ada", "bob", "cid"} {
			s.add(client, "book", 2)
		}
		s.add("cid", "pen", 1)
		in := s.open(settings{})
		wantErr(t, in.buy("ada"), nil)
		in.till.charges(s.ledger.decline(""))
		wantErr(t, in.buy("bob"), checkout.ErrDeclined)
		held := in.till.hold()
		cid := in.begin("cid")
		held.await(t, 1)

		report := s.audit()
		if !report.Sound() || time.Since(report.At) > patience {
			t.Errorf("the report of %v is %v", report.At, found(report))
		}
		before := s.ledger.all()
		if err := checkout.AuditPayments(t.Context(), s.db, in.till, &report); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(report.Products, report.OnHand, report.Reserved, report.Reservations, report.Open, report.Payments, report.Count)
		want(t, "products, on hand, held, holds, open, payments, inconsistencies", got, "2 9 3 2 1 2 0")
		want(t, "what is in flight is not voided", s.ledger.of(s.entry("cid").CheckoutID).voids, 0)
		for id, a := range s.ledger.all() {
			if was := before[id]; a.captured != was.captured || a.refunded != was.refunded {
				t.Errorf("the audit changed the payment of checkout %s", id)
			}
		}
		held.open(s.ledger.approve)
		wantErr(t, cid.end(), nil)
	})
}

// reservedBooks is a shop with one checkout in flight: two lines of ada's, book×2 and pen×1.
func reservedBooks(t *testing.T, s *shop) (id string, end func()) {
	t.Helper()
	s.stock("book", 10)
	s.stock("pen", 10)
	s.add("ada", "book", 2)
	s.add("ada", "pen", 1)
	in := s.open(settings{idle: true}) // nobody mends what the test spoils
	held := in.till.hold()
	ada := in.begin("ada")
	held.await(t, 1)
	return s.entry("ada").CheckoutID, func() {
		t.Helper()
		held.open(s.ledger.approve)
		wantErr(t, ada.end(), nil)
	}
}

func TestAudit_findsEachInconsistency(t *testing.T) {
	t.Parallel()
	type books struct {
		name     string
		spoil    func(s *shop, id string)
		want     func(id string) []string
		mend     func(s *shop, id string)
		mendable bool // by Repair
	}
	hold := func(id string, line int) string { return fmt.Sprintf("%s:%d", id, line) }
	for _, b := range []books{
		{
			name:  "more held than on hand",
			spoil: func(s *shop, _ string) { s.exec("UPDATE product_details SET quantity = 1 WHERE product_id = 'book'") },
			want:  func(string) []string { return []string{"stock: book"} },
			mend:  func(s *shop, _ string) { s.exec("UPDATE product_details SET quantity = 10 WHERE product_id = 'book'") },
		},
		{
			name:  "a product that is held and gone",
			spoil: func(s *shop, _ string) { s.exec("DELETE FROM product_details WHERE product_id = 'pen'") },
			want:  func(string) []string { return []string{"stock: pen"} },
			mend: func(s *shop, _ string) {
				s.exec("INSERT INTO product_details (product_id, quantity) VALUES ('pen', 10)")
			},
		},
		{
			name: "holds that nobody owns",
			spoil: func(s *shop, id string) {
				s.exec("INSERT INTO reserve_purchase (reserve_id, product_id, quantity) VALUES"+
					" ('6c3f', 'book', 1), ('nobody:1', 'book', 1), ('x:y', 'pen', NULL), (?, 'pen', 1)", hold(id, 0)+"x")
			},
			want: func(id string) []string {
				return []string{"owned: " + hold(id, 0) + "x", "owned: 6c3f", "owned: nobody:1", "owned: x:y"}
			},
			mendable: true,
		},
		{
			name:  "a hold that is missing",
			spoil: func(s *shop, id string) { s.exec("DELETE FROM reserve_purchase WHERE reserve_id = ?", hold(id, 2)) },
			want:  func(id string) []string { return []string{"reserved: " + id} },
			mend: func(s *shop, id string) {
				s.exec("INSERT INTO reserve_purchase (reserve_id, product_id, quantity) VALUES (?, 'pen', 1)", hold(id, 2))
			},
		},
		{
			name: "a hold of another quantity",
			spoil: func(s *shop, id string) {
				s.exec("UPDATE reserve_purchase SET quantity = 1 WHERE reserve_id = ?", hold(id, 1))
			},
			want: func(id string) []string { return []string{"reserved: " + id, "reserved: " + hold(id, 1)} },
			mend: func(s *shop, id string) {
				s.exec("UPDATE reserve_purchase SET quantity = 2 WHERE reserve_id = ?", hold(id, 1))
			},
		},
		{
			name: "a hold of another product",
			spoil: func(s *shop, id string) {
				s.exec("UPDATE reserve_purchase SET product_id = 'book' WHERE reserve_id = ?", hold(id, 2))
			},
			want: func(id string) []string { return []string{"reserved: " + id, "reserved: " + hold(id, 2)} },
			mend: func(s *shop, id string) {
				s.exec("UPDATE reserve_purchase SET product_id = 'pen' WHERE reserve_id = ?", hold(id, 2))
			},
		},
		{
			name: "a hold of a line that the checkout does not have",
			spoil: func(s *shop, id string) {
				s.exec("INSERT INTO reserve_purchase (reserve_id, product_id, quantity) VALUES (?, 'pen', 1)", hold(id, 3))
			},
			want: func(id string) []string { return []string{"reserved: " + hold(id, 3)} },
			mend: func(s *shop, id string) { s.exec("DELETE FROM reserve_purchase WHERE reserve_id = ?", hold(id, 3)) },
		},
		{
			name: "a refunding checkout with holds",
			spoil: func(s *shop, id string) {
				s.exec("UPDATE checkout_journal SET state = 'refunding' WHERE checkout_id = ?", id)
			},
			want: func(id string) []string { return []string{"reserved: " + hold(id, 1), "reserved: " + hold(id, 2)} },
			mend: func(s *shop, id string) {
				s.exec("UPDATE checkout_journal SET state = 'reserved' WHERE checkout_id = ?", id)
			},
		},
		{
			name: "a settled checkout with holds",
			spoil: func(s *shop, _ string) {
				s.exec("INSERT INTO checkout_journal (checkout_id, client_id, state, epoch, items, created_at, updated_at)" +
					" VALUES ('settled', 'bob', 'rolled_back', 1, '[]', '2000-01-01', '2000-01-01')")
				s.exec("INSERT INTO reserve_purchase (reserve_id, product_id, quantity) VALUES ('settled:1', 'pen', 1)")
			},
			want:     func(string) []string { return []string{"owned: settled:1"} },
			mend:     func(s *shop, _ string) { s.exec("DELETE FROM checkout_journal WHERE checkout_id = 'settled'") },
			mendable: true,
		},
		{
			name: "a checkout that nobody claims",
			spoil: func(s *shop, _ string) {
				s.exec("INSERT INTO checkout_journal (checkout_id, client_id, state, epoch, items, lease_expires_at, created_at, updated_at)" +
					" VALUES ('overdue', 'bob', 'refunding', 1, '[]', " + s.db.Dialect().NowPlus(-time.Minute) + ", '2000-01-01', '2000-01-01')")
			},
			want: func(string) []string { return []string{"overdue: overdue"} },
			mend: func(s *shop, _ string) { s.exec("DELETE FROM checkout_journal WHERE checkout_id = 'overdue'") },
		},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, s *shop) {
				id, end := reservedBooks(t, s)
				b.spoil(s, id)
				spoiled := s.audit()
				if diff := cmp.Diff(sorted(b.want(id)), found(spoiled)); diff != "" {
					t.Errorf("inconsistencies (-want +got):\n%s", diff)
				}
				want(t, "sound", spoiled.Sound(), false)
				want(t, "inconsistencies counted", spoiled.Count, len(spoiled.Inconsistencies))

				if err := checkout.Repair(t.Context(), s.db, &spoiled); err != nil {
					t.Fatal(err)
				}
				want(t, "sound after the repair", spoiled.Sound(), b.mendable)
				if b.mend != nil {
					b.mend(s, id)
				}
				if after := s.audit(); !after.Sound() {
					t.Errorf("after it was mended: %v", found(after))
				}
				want(t, "holds that are owned", s.number("SELECT COUNT(*) FROM reserve_purchase"), 2)
				end()
			})
		})
	}
}

func sorted(texts []string) []string {
	slices.Sort(texts)
	return texts
}

func TestAudit_repairNeverDropsAHoldThatIsOwned(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		id, end := reservedBooks(t, s)
		// A report from before the hold had an owner.
		old := checkout.Report{Count: 1, Inconsistencies: []checkout.Inconsistency{{Rule: checkout.RuleOwned, What: id + ":1"}}}
		if err := checkout.Repair(t.Context(), s.db, &old); err != nil {
			t.Fatal(err)
		}
		want(t, "held", s.held("book"), 2)
		want(t, "sound after the repair", old.Sound(), false)
		end()
	})
}

func TestAudit_seesOneMomentWhileTheShopSells(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const clients = 120
		s.stock("book", clients)
		s.stock("pen", clients/2)
		var added []cart.ClientLine
		for i := range clients {
			for _, product := range []string{"book", "pen"} {
				added = append(added, cart.ClientLine{ClientID: fmt.Sprint("client-", i), Line: inventory.Line{ProductID: product, Quantity: 1}})
			}
		}
		s.addAll(added...)
		in := s.open(settings{Config: checkout.Config{BatchSize: 4}})
		in.till.charges(func(ctx context.Context, order payment.Order) (payment.Result, error) {
			if len(order.ClientID)%2 == 0 {
				return s.ledger.decline("")(ctx, order)
			}
			return s.ledger.approve(ctx, order)
		})
		sold := make(chan struct{})
		go func() {
			defer close(sold)
			var calls []*call
			for i := range clients {
				calls = append(calls, in.begin(fmt.Sprint("client-", i)))
			}
			for _, c := range calls {
				<-c.done
			}
		}()
		audits := 0
		for selling := true; selling; audits++ {
			select {
			case <-sold:
				selling = false
			default:
			}
			if report := s.audit(); !report.Sound() {
				t.Fatalf("audit %d: %v", audits, report.Inconsistencies)
			}
		}
		t.Log(audits, "audits")
	})
}

func TestAudit_auditorHasNoReportAtFirstAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var auditor checkout.Auditor
		auditor.Run(ctx, s.db, s.log)
		if report := auditor.Last(); report != nil {
			t.Errorf("the report is %v", report)
		}
	})
}

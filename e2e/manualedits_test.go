package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/payment"
)

// netOf reads from what an import says by how many units it changed what is on hand.
var netOf = regexp.MustCompile(`on hand changed by ([-+]?[0-9,]+) units?`)

// imports imports one row and lets the chaos test reckon with what came of it. A row that is
// refused changes nothing.
func (e *editor) imports(t *testing.T, product string, quantity int, flags ...string) {
	t.Helper()
	csv := fmt.Sprintf("product_id,product_name,quantity\n%s,,%d\n", product, quantity)
	out, errs, status := run(t, e.c.store, strings.NewReader(csv), append([]string{"stock", "import", "-"}, flags...)...)
	found := netOf.FindStringSubmatch(out)
	refused := strings.Contains(errs, "reserved by checkouts in flight") || strings.Contains(errs, "below 0")
	if found == nil || (status != 0 && !refused) {
		t.Errorf("stock import of %d %v: status %d: %s%s", quantity, flags, status, out, errs)
		return
	}
	net, err := strconv.Atoi(strings.ReplaceAll(found[1], ",", ""))
	if err != nil {
		t.Error(err)
	}
	kind := "imports"
	if refused {
		kind = "imports refused"
	}
	e.did(kind, product, net)
}

func TestImport_worksBesideCheckouts(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"plenty": 1_000_000, "scarce": 100, "short": 50, "rare": 3})
		h := newEditor(c)
		// Payments take their time, so that something is always held.
		shop := start(t, s, append(shortTimeouts, "--payment-url", slow(t, c.payments, 200*time.Millisecond))...)
		c.shoppers.visits(shop)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		wait := c.shoppers.shop(ctx, 32, "plenty", "scarce", "short", "rare")
		var importers sync.WaitGroup
		for product, most := range map[string]int{"scarce": 60, "short": 30, "rare": 6} {
			importers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(most)))
				for range shortOrLong(8, 200) {
					if random.IntN(2) == 0 {
						h.imports(t, product, random.IntN(most))
					} else {
						h.imports(t, product, random.IntN(most)-most/3, "--add")
					}
					pause(ctx, time.Duration(random.Int64N(int64(100*time.Millisecond))))
				}
			})
		}
		importers.Wait()
		stop()
		wait()
		c.settle()
		for id, p := range c.payments.Payments() {
			if p.Status == payment.Refunded {
				t.Errorf("checkout %s was refunded, though no import may bring stock below what is held", id)
			}
		}
		h.reckon()
		c.recordMemory(shop)
		c.check()
	})
}

func TestManualSQL_loweredStockIsRefunded(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		const onHand, held, left = 40, 30, 11
		c := newChaos(t, s, map[string]int{"lamp": onHand, "plenty": 1_000_000})
		h, g := newEditor(c), startInterceptor(t, c.payments)
		shop := start(t, s, "--payment-url", g.url)
		c.shoppers.visits(shop)
		charges := g.before(t, http.MethodPut)
		var buyers sync.WaitGroup
		for i := range held {
			buyers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 1))
				client, key := fmt.Sprint("buyer-", i), ""
				if i%2 == 0 {
					key = "buy"
				}
				c.shoppers.add(t.Context(), random, client, "lamp", 1, "")
				c.shoppers.add(t.Context(), random, client, "plenty", 2, "")
				if got := c.shoppers.buy(t.Context(), random, client, key); got.Code != 200 && got.Code != 409 {
					t.Errorf("checkout of %s: %v, want 200 or 409", client, got)
				}
			})
		}
		for range held {
			charges.await(soon)
		}
		h.setStock(t, "lamp", left)
		charges.letGo()
		buyers.Wait()
		c.settle()
		states := map[checkout.State]int{}
		for _, e := range s.snapshot(t).checkouts {
			states[e.State]++
		}
		refunded := map[string]int64{}
		for _, p := range c.payments.Payments() {
			if p.Status == payment.Refunded {
				for _, item := range p.Items {
					refunded[item.ProductID] += item.Quantity
				}
			}
		}
		if want := int64(held - left); refunded["lamp"] != want || refunded["plenty"] != 2*want {
			t.Errorf("refunded %v, want the %d lamps that were stranded and twice as many of what was bought with them", refunded, want)
		}
		if states[checkout.Committed] != left || states[checkout.RolledBack] != held-left {
			t.Errorf("the checkouts ended as %v, want %d committed and %d rolled back", states, left, held-left)
		}
		c.notef("%d checkouts refunded", held-left)
		h.reckon()
		c.recordMemory(shop)
		c.check()
	})
}

func TestManualSQL_editsUnderLoadKeepGuarantees(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"plenty": 1_000_000, "lowered": 500, "doomed": 500})
		h := newEditor(c)
		shop := c.start(shortTimeouts...)
		c.shoppers.visits(shop)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		wait := c.shoppers.shop(ctx, 32, "plenty", "plenty", "lowered", "doomed")
		random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
		for end := time.Now().Add(shortOrLong(2*time.Second, 3*time.Minute)); time.Now().Before(end) || h.done() < 8; {
			var err error
			switch random.IntN(12) {
			case 0:
				err = h.deleteProduct(ctx, "doomed")
			case 1:
				err = h.createProduct(ctx, "doomed", random.IntN(50))
			case 2:
				h.setStock(t, "lowered", random.IntN(40))
			default:
				err = h.editLine(ctx, random)
			}
			if err != nil {
				t.Errorf("edit by manual SQL: %v", err)
				break
			}
			pause(ctx, time.Duration(random.Int64N(int64(20*time.Millisecond))))
		}
		stop()
		wait()
		c.settle()
		refunds := 0
		for _, p := range c.payments.Payments() {
			if p.Status == payment.Refunded {
				refunds++
			}
		}
		c.notef("%d checkouts refunded", refunds)
		h.reckon()
		c.recordMemory(shop)
		c.check()
	})
}

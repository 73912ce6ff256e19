package main

import (
	"context"
	"fmt"
	"maps"
)

const (
	scarceProduct = "scarce"
	scarceUnits   = 500
	scarceBuyers  = 10_000
	scarceCrowd   = 256 // connections
)

// soldOut lets a crowd buy what there is too little of. Just as many must succeed as there are
// units, and the others must be refused as fast as adds are served: a sale must not slow the shop
// down.
func (b *bench) soldOut(ctx context.Context) error {
	for _, engine := range engines {
		key := "soldout/" + engine
		if !b.settings.wants(key) {
			continue
		}
		s, err := b.openShop(ctx, engine)
		if err != nil {
			return err
		}
		if err := s.store.insert(ctx, "product_details (product_id, product_name, quantity)", 1, func(int) string {
			return fmt.Sprintf("('%s','',%d)", scarceProduct, scarceUnits)
		}); err != nil {
			return err
		}
		if err := b.sellOut(ctx, key, s); err != nil {
			if err := b.missed(ctx, key, err); err != nil {
				return err
			}
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) sellOut(ctx context.Context, key string, s *shop) error {
	const late = 40_000 // who come when nothing is left: so many that there is something to measure
	prefix := s.prefix()
	if err := s.store.insert(ctx, "client_cart (client_id, product_id, quantity)", scarceBuyers+late, func(i int) string {
		return fmt.Sprintf("('%s%07d','%s',1)", prefix, i, scarceProduct)
	}); err != nil {
		return err
	}
	if err := s.store.quiet(ctx); err != nil {
		return err
	}
	buyers := offer{base: s.base, what: checkout, rate: atOnce, requests: scarceBuyers, connections: scarceCrowd, body: checkoutsOf(prefix, 0)}
	t, err := buyers.take(ctx)
	if err != nil {
		return err
	}
	if want := map[int]int{200: scarceUnits, 409: scarceBuyers - scarceUnits}; !maps.Equal(t.statuses, want) || t.failed > 0 {
		return fmt.Errorf("the answers were %v and %d none, want %v", t.statuses, t.failed, want)
	}
	left, err := s.store.number(ctx, "SELECT quantity FROM product_details WHERE product_id = ?", scarceProduct)
	if err != nil {
		return err
	}
	sold, err := s.store.settled(ctx, prefix, "committed")
	if err != nil {
		return err
	}
	b.report.add(row{
		Key: key, Name: fmt.Sprintf("/checkOutCart, %s, 10,000 buyers of 500 units: sold", engineName(s.store.engine)),
		Measured: amountOf(float64(sold), "units"), Relation: exactly, Target: scarceUnits,
		Note: fmt.Sprintf("%d are left; %.2f s", left, t.took.Seconds()),
	})
	if left != 0 {
		return fmt.Errorf("%d units are left", left)
	}

	var refused, added []float64
	for round := range b.settings.rounds {
		each := late / b.settings.rounds
		b.seed++
		adds := offer{base: s.base, what: add, rate: atOnce, requests: each, connections: scarceCrowd, body: randomAdds(b.seed, adders, products)}
		buyers.requests, buyers.body = each, checkoutsOf(prefix, scarceBuyers+round*each)
		for _, o := range []offer{adds, buyers} {
			if err := s.store.quiet(ctx); err != nil {
				return err
			}
			t, err := o.take(ctx)
			if err != nil {
				return err
			}
			want, rates := 200, &added
			if o.what == checkout {
				want, rates = 409, &refused
			}
			if t.statuses[want] != each {
				return fmt.Errorf("the answers to %s were %v and %d none, want %d alone", pathOf(o.what), t.statuses, t.failed, want)
			}
			*rates = append(*rates, float64(each)/t.took.Seconds())
		}
		b.progressf("%s: %.0f/s adds, %.0f/s refusals", key, added[round], refused[round])
	}
	b.report.add(row{
		Key: key, Name: fmt.Sprintf("/checkOutCart, %s, refusals when nothing is left", engineName(s.store.engine)),
		Measured: summarize(refused, "/s"), BaseName: "adds", Base: summarize(added, "/s"), Relation: atLeast, Target: 1,
	})
	return nil
}

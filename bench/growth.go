package main

import (
	"context"
	"fmt"
	"time"
)

const (
	grownLines    = 1_000_000
	grownProducts = 100_000
	grownInFlight = 10_000
	grownSettled  = 5_000_000 // checkouts in the journal
	grownTarget   = 0.9
)

// growth compares a shop that is full with one that is empty, in turns.
func (b *bench) growth(ctx context.Context) error {
	for _, engine := range engines {
		adding, buying := "growth/add/"+engine, "growth/checkout/"+engine
		if !b.wantsAny(adding, buying) {
			continue
		}
		empty, err := b.openShop(ctx, engine)
		if err != nil {
			return err
		}
		full, err := b.openFullShop(ctx, engine)
		if err != nil {
			return err
		}
		for _, what := range []string{add, checkout} {
			key := "growth/" + what + "/" + engine
			if !b.settings.wants(key) {
				continue
			}
			if err := b.compareShops(ctx, key, what, full, empty); err != nil {
				if err := b.missed(ctx, key, err); err != nil {
					return err
				}
			}
		}
		for _, s := range []*shop{empty, full} {
			if err := s.stop(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) openFullShop(ctx context.Context, engine string) (*shop, error) {
	b.progressf("growth/%s: filling a shop with %d lines", engine, grownLines)
	s, err := b.open(ctx, engine, grownProducts)
	if err != nil {
		return nil, err
	}
	if err := s.fillCarts(ctx, grownProducts); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := s.fillJournal(ctx); err != nil {
		return nil, err
	}
	b.progressf("growth/%s: the journal was filled in %v", engine, time.Since(began).Round(time.Second))
	i, err := b.serve(ctx, s)
	if err != nil {
		return nil, err
	}
	// After the start, which on the embedded engine recovers all open checkouts. These are another
	// instance's, and their leases do not end.
	if err := s.insert(ctx, "checkout_journal (checkout_id, client_id, state, epoch, lease_expires_at, items, created_at, updated_at)", grownInFlight, func(i int) string {
		return fmt.Sprintf(`('%s','flight%07d','reserved',1,'%s','[{"productID":"p%05d","quantity":1}]','%[5]s','%[5]s')`,
			flightID(i), i, "2100-01-01 00:00:00.000", i*(grownProducts/grownInFlight), "2026-01-01 00:00:00.000")
	}); err != nil {
		return nil, err
	}
	err = s.insert(ctx, "reserve_purchase (reserve_id, product_id, quantity)", grownInFlight, func(i int) string {
		return fmt.Sprintf("('%s:1','p%05d',1)", flightID(i), i*(grownProducts/grownInFlight))
	})
	return &shop{instance: i, store: s, warm: map[string]bool{}}, err
}

// cartLine returns whose the i-th of grownLines lines is, and of which of so many products.
func cartLine(i, products int) (client, product int) {
	const each = grownLines / adders
	apart := products / each
	client = i / each
	return client, i%each*apart + spread(client, apart)
}

// fillCarts writes grownLines lines.
func (s *store) fillCarts(ctx context.Context, products int) error {
	return s.insert(ctx, "client_cart (client_id, product_id, quantity)", grownLines, func(i int) string {
		client, product := cartLine(i, products)
		return fmt.Sprintf("('c%07d','p%05d',1)", client, product)
	})
}

// fillJournal writes grownSettled committed checkouts, five of each client.
func (s *store) fillJournal(ctx context.Context) error {
	const chunk = 500_000
	for first := 1; first <= grownSettled; first += chunk {
		last := first + chunk - 1
		numbers, id, client := fmt.Sprintf("seq_%d_to_%d", first, last),
			"CONCAT('018b0000-0000-7000-8000-', LPAD(seq, 12, '0'))", "CONCAT('old', LPAD(seq DIV 5, 7, '0'))"
		if s.engine == embedded {
			numbers = fmt.Sprintf("(WITH RECURSIVE n (seq) AS (SELECT %d UNION ALL SELECT seq + 1 FROM n WHERE seq < %d) SELECT seq FROM n)", first, last)
			id, client = "printf('018b0000-0000-7000-8000-%012d', seq)", "printf('old%07d', seq / 5)"
		}
		_, err := s.db.Setup().ExecContext(ctx, "INSERT INTO checkout_journal (checkout_id, client_id, state, epoch, items, created_at, updated_at) SELECT "+
			id+", "+client+`, 'committed', 1, '[{"productID":"p00001","quantity":1}]', '2025-01-01 00:00:00.000', '2025-01-01 00:00:00.000' FROM `+numbers)
		if err != nil {
			return fmt.Errorf("fill the journal from %d: %w", first, err)
		}
	}
	return nil
}

// flightID looks as a checkout's ID does.
func flightID(i int) string { return fmt.Sprintf("019b0000-0000-7000-8000-%012d", i) }

func (b *bench) compareShops(ctx context.Context, key, what string, full, empty *shop) error {
	const connections, atMost = 256, 30_000
	runs := map[*shop][]outcome{}
	for range b.settings.rounds {
		for _, s := range []*shop{empty, full} {
			o, err := b.measure(ctx, s, what, connections, false, atMost)
			if err != nil {
				return err
			}
			runs[s] = append(runs[s], o)
		}
		b.progressf("%s: empty %.0f/s, full %.0f/s", key, runs[empty][len(runs[empty])-1].rate(), runs[full][len(runs[full])-1].rate())
	}
	name := "/addToCart"
	if what == checkout {
		name = "/checkOutCart"
	}
	b.report.add(row{
		Key: key, Name: name + ", " + engineName(full.store.engine) + ", with 1,000,000 lines, 100,000 products, 10,000 checkouts in flight, 5,000,000 settled",
		Measured: rates(runs[full]), BaseName: "empty", Base: rates(runs[empty]),
		Relation: atLeast, Target: grownTarget, Cost: costOf(runs[full]),
	})
	inFlight, err := full.store.number(ctx, "SELECT COUNT(*) FROM checkout_journal WHERE state = 'reserved' AND epoch = 1")
	if err == nil && inFlight < grownInFlight {
		err = fmt.Errorf("of %d checkouts in flight %d are left", grownInFlight, inFlight)
	}
	return err
}

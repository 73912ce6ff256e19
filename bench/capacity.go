package main

import (
	"context"
	"fmt"
	"math"
	"time"
)

// A load is a row of the capacity table: requests of one kind, on one engine, over so many
// connections.
type load struct {
	key, name   string
	what        string // add or checkout
	engine      string
	connections int
	hot         bool    // checkouts: all of the one product; else each of one of all
	target      float64 // times the no-op baseline
}

// The targets are shares of the no-op baseline. Those of MySQL are 0.8 times MariaDB's.
var loads = []load{
	{"add/embedded/64", "/addToCart, embedded, 64 connections", add, embedded, 64, false, 0.45},
	{"add/embedded/256", "/addToCart, embedded, 256 connections", add, embedded, 256, false, 0.55},
	{"checkout/hot/embedded/256", "/checkOutCart, embedded, one hot product, 256 connections", checkout, embedded, 256, true, 0.35},
	{"checkout/spread/embedded/256", "/checkOutCart, embedded, 10,000 products, 256 connections", checkout, embedded, 256, false, 0.3},
	{"add/mariadb/64", "/addToCart, MariaDB, 64 connections", add, mariadb, 64, false, 0.45},
	{"add/mariadb/256", "/addToCart, MariaDB, 256 connections", add, mariadb, 256, false, 0.55},
	{"checkout/hot/mariadb/256", "/checkOutCart, MariaDB, one hot product, 256 connections", checkout, mariadb, 256, true, 0.25},
	{"checkout/spread/mariadb/512", "/checkOutCart, MariaDB, 10,000 products, 512 connections", checkout, mariadb, 512, false, 0.2},
	{"add/mysql/64", "/addToCart, MySQL, 64 connections", add, mysql97, 64, false, 0.36},
	{"add/mysql/256", "/addToCart, MySQL, 256 connections", add, mysql97, 256, false, 0.44},
	{"checkout/hot/mysql/256", "/checkOutCart, MySQL, one hot product, 256 connections", checkout, mysql97, 256, true, 0.2},
	{"checkout/spread/mysql/512", "/checkOutCart, MySQL, 10,000 products, 512 connections", checkout, mysql97, 512, false, 0.16},
}

// A single is a row that compares with one transaction a request.
type single struct {
	key, name string
	load      string  // the row whose capacity it compares
	target    float64 // times the best of BATCH_SIZE=1
}

var singles = []single{
	{"add/mariadb/batch", "/addToCart, MariaDB, against BATCH_SIZE=1", "add/mariadb/256", 8},
	{"checkout/hot/mariadb/batch", "/checkOutCart, MariaDB, one hot product, against BATCH_SIZE=1", "checkout/hot/mariadb/256", 12},
}

// checkoutsOfN is the share of N for which carts are filled; where checkouts are faster, the carts
// run out, which shows.
const checkoutsOfN = 0.6

// singleConnections are tried with BATCH_SIZE=1; the best counts.
var singleConnections = []int{16, 64, 256}

// A shop is an instance on a store of its own.
type shop struct {
	*instance

	store  *store
	filled int // how often carts were filled
}

// prefix is for clients that there are not yet.
func (s *shop) prefix() string {
	s.filled++
	return fmt.Sprintf("b%03d-", s.filled)
}

func (b *bench) openShop(ctx context.Context, engine string, flags ...string) (*shop, error) {
	s, err := b.open(ctx, engine, products)
	if err != nil {
		return nil, err
	}
	i, err := b.serve(ctx, s, flags...)
	return &shop{instance: i, store: s}, err
}

// capacity measures what wrk can get through, each beside N: in every round N and then the rows
// that compare with it, so that a machine that is slow for a while is so for both. The embedded
// engine comes first: a MySQL server goes on writing for a while after it was asked, and would take
// from what is measured next.
func (b *bench) capacity(ctx context.Context) error {
	wanted, compared := b.wantedLoads()
	shops := map[string]*shop{}
	rates := map[string][]float64{}
	for len(wanted) > 0 {
		group := []load{wanted[0]}
		rest := wanted[:0:0]
		for _, l := range wanted[1:] {
			if l.engine == group[0].engine && l.what == group[0].what && l.connections == group[0].connections {
				group = append(group, l)
			} else {
				rest = append(rest, l)
			}
		}
		wanted = rest
		if err := b.rounds(ctx, group, shops, rates); err != nil {
			return err
		}
	}
	for _, s := range shops {
		if err := s.stop(); err != nil {
			return err
		}
	}
	for _, one := range compared {
		if len(rates[one.load]) == 0 {
			continue // which was told
		}
		if err := b.compare(ctx, one, rates[one.load]); err != nil {
			if err := b.missed(ctx, one.key, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// wantedLoads are the rows to measure, those that others compare with included.
func (b *bench) wantedLoads() (wanted []load, compared []single) {
	needed := map[string]bool{}
	for _, one := range singles {
		if b.settings.wants(one.key) {
			compared = append(compared, one)
			needed[one.load] = true
		}
	}
	for _, l := range loads {
		if needed[l.key] || b.settings.wants(l.key) {
			wanted = append(wanted, l)
		}
	}
	return wanted, compared
}

// rounds measures rows that share N.
func (b *bench) rounds(ctx context.Context, group []load, shops map[string]*shop, rates map[string][]float64) error {
	what, connections := group[0].what, group[0].connections
	null, err := b.nullBase(ctx)
	if err != nil {
		return err
	}
	var n []float64
	failed := map[string]bool{}
	for range b.settings.rounds {
		o, err := b.measureNull(ctx, null, what, connections)
		if err != nil {
			return err
		}
		n = append(n, o.rate())
		b.progressf("N of %s over %d connections: %.0f/s, p50 %.2f ms, p99 %.2f ms", what, connections, o.rate(), o.P50/1e3, o.P99/1e3)
		for _, l := range group {
			if shops[l.engine] == nil {
				if shops[l.engine], err = b.openShop(ctx, l.engine); err != nil {
					return err
				}
			}
			if failed[l.key] {
				continue
			}
			o, err := b.measure(ctx, shops[l.engine], l.what, connections, l.hot, checkoutsOfN*o.rate())
			if err != nil {
				failed[l.key] = true
				if err := b.missed(ctx, l.key, err); err != nil {
					return err
				}
				continue
			}
			rates[l.key] = append(rates[l.key], o.rate())
			b.progressf("%s: %.0f/s (%.2f N), p50 %.2f ms, p99 %.2f ms", l.key, o.rate(), o.rate()/n[len(n)-1], o.P50/1e3, o.P99/1e3)
		}
	}
	for _, l := range group {
		if failed[l.key] {
			delete(rates, l.key)
			continue
		}
		b.report.add(row{
			Key: l.key, Name: l.name,
			Measured: summarize(rates[l.key], "/s"), BaseName: "no-op baseline", Base: summarize(n, "/s"),
			Relation: atLeast, Target: l.target,
		})
	}
	return nil
}

func (b *bench) measureNull(ctx context.Context, base, what string, connections int) (outcome, error) {
	t := traffic{what: what, prefix: "c", clients: adders, products: products}
	if _, err := b.attack(ctx, base, t, connections, b.settings.warm); err != nil {
		return outcome{}, err
	}
	o, err := b.attack(ctx, base, t, connections, b.settings.measured)
	if err == nil {
		err = o.clean()
	}
	return o, err
}

// measure loads a shop and checks that what it answered is what it stored. atMost is what it could
// get through at best: so many carts are filled.
func (b *bench) measure(ctx context.Context, s *shop, what string, connections int, hot bool, atMost float64) (outcome, error) {
	t := traffic{what: what, prefix: "c", clients: adders, products: s.store.catalogue}
	if what == checkout {
		t.prefix = s.prefix()
		carts := int(atMost*(b.settings.warm+b.settings.measured).Seconds()) + 2*connections
		if err := s.store.fill(ctx, t.prefix, 0, carts, hot); err != nil {
			return outcome{}, err
		}
		t.clients = carts
	}
	if err := s.store.quiet(ctx); err != nil {
		return outcome{}, err
	}
	warm, err := b.attack(ctx, s.base, t, connections, b.settings.warm)
	if err != nil {
		return outcome{}, err
	}
	if err := s.store.quiet(ctx); err != nil {
		return outcome{}, err
	}
	t.first = warm.Next
	before, err := s.stored(ctx, t)
	if err != nil {
		return outcome{}, err
	}
	o, err := b.attack(ctx, s.base, t, connections, b.settings.measured)
	if err != nil {
		return outcome{}, err
	}
	if err := o.clean(); err != nil {
		return outcome{}, b.explain(ctx, s, t, connections, o, err)
	}
	if err := s.store.quiet(ctx); err != nil {
		return outcome{}, err
	}
	after, err := s.stored(ctx, t)
	if err != nil {
		return outcome{}, err
	}
	// wrk hangs up on what is under way: at most one request a connection is stored without an
	// answer.
	if stored := after - before; stored < o.Requests || stored > o.Requests+connections {
		return outcome{}, fmt.Errorf("%d requests were answered, and %d are stored", o.Requests, stored)
	}
	return o, nil
}

// stored counts what requests of this kind have left behind, once nothing of them is under way any
// more.
func (s *shop) stored(ctx context.Context, t traffic) (int, error) {
	for last := -1; ; {
		var now int
		var err error
		if t.what == add {
			now, err = s.store.units(ctx)
		} else {
			now, err = s.store.sold(ctx, t.prefix)
		}
		if err != nil || now == last {
			return now, err
		}
		last = now
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// explain repeats a run that was refused something, counting the answers by status.
func (b *bench) explain(ctx context.Context, s *shop, t traffic, connections int, o outcome, cause error) error {
	t.first = o.Next
	b.countStatuses = true
	defer func() { b.countStatuses = false }()
	again, err := b.attack(ctx, s.base, t, connections, time.Second)
	if err != nil {
		return fmt.Errorf("%w; the second look failed: %w", cause, err)
	}
	return fmt.Errorf("%w; a second run was answered %v; the instance's log ends with: %s", cause, again.Statuses, s.said())
}

// compare measures the best that one transaction a request can do, and compares a capacity with it.
func (b *bench) compare(ctx context.Context, one single, batched []float64) error {
	l := loadOf(one.load)
	s, err := b.openShop(ctx, l.engine, "--batch-size", "1")
	if err != nil {
		return err
	}
	var best []float64
	for _, connections := range singleConnections {
		var rates []float64
		for range b.settings.rounds {
			// No better than the batches, one hopes; else the carts run out, which shows.
			o, err := b.measure(ctx, s, l.what, connections, l.hot, summarize(batched, "").Value)
			if err != nil {
				return err
			}
			rates = append(rates, o.rate())
			b.progressf("%s: BATCH_SIZE=1 over %d connections: %.0f/s", one.key, connections, o.rate())
		}
		if best == nil || summarize(rates, "").Value > summarize(best, "").Value {
			best = rates
		}
	}
	b.report.add(row{
		Key: one.key, Name: one.name,
		Measured: summarize(batched, "/s"), BaseName: "BATCH_SIZE=1", Base: summarize(best, "/s"),
		Relation: atLeast, Target: one.target,
	})
	return s.stop()
}

func loadOf(key string) load {
	for _, l := range loads {
		if l.key == key {
			return l
		}
	}
	return load{connections: math.MaxInt}
}

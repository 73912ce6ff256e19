package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"
)

// A load is a row of the capacity table: requests of one kind, on one engine, over so many
// connections.
type load struct {
	key, name   string
	what        string
	engine      string
	connections int
	hot         bool    // checkouts: all of the one product; else each of one of all
	events      bool    // sales are announced to a receiver
	target      float64 // times the no-op baseline; 0: shown without target
}

// The targets are shares of the no-op baseline. Those of MySQL are 0.8 times MariaDB's.
var loads = append([]load{
	{key: "add/embedded/64", name: "/addToCart, embedded, 64 connections", what: add, engine: embedded, connections: 64, target: 0.45},
	{key: "add/embedded/256", name: "/addToCart, embedded, 256 connections", what: add, engine: embedded, connections: 256, target: 0.55},
	{key: "checkout/hot/embedded/256", name: "/checkOutCart, embedded, one hot product, 256 connections", what: checkout, engine: embedded, connections: 256, hot: true, target: 0.35},
	{key: "checkout/spread/embedded/256", name: "/checkOutCart, embedded, 10,000 products, 256 connections", what: checkout, engine: embedded, connections: 256, target: 0.3},
	{key: "add/mariadb/64", name: "/addToCart, MariaDB, 64 connections", what: add, engine: mariadb, connections: 64, target: 0.45},
	{key: "add/mariadb/256", name: "/addToCart, MariaDB, 256 connections", what: add, engine: mariadb, connections: 256, target: 0.55},
	{key: "checkout/hot/mariadb/256", name: "/checkOutCart, MariaDB, one hot product, 256 connections", what: checkout, engine: mariadb, connections: 256, hot: true, target: 0.25},
	{key: "checkout/spread/mariadb/512", name: "/checkOutCart, MariaDB, 10,000 products, 512 connections", what: checkout, engine: mariadb, connections: 512, target: 0.2},
	{key: "add/mysql/64", name: "/addToCart, MySQL, 64 connections", what: add, engine: mysql97, connections: 64, target: 0.36},
	{key: "add/mysql/256", name: "/addToCart, MySQL, 256 connections", what: add, engine: mysql97, connections: 256, target: 0.44},
	{key: "checkout/hot/mysql/256", name: "/checkOutCart, MySQL, one hot product, 256 connections", what: checkout, engine: mysql97, connections: 256, hot: true, target: 0.2},
	{key: "checkout/spread/mysql/512", name: "/checkOutCart, MySQL, 10,000 products, 512 connections", what: checkout, engine: mysql97, connections: 512, target: 0.16},
	{key: "add/mariadb11.8/64", name: "/addToCart, MariaDB 11.8, 64 connections", what: add, engine: newMariaDB, connections: 64},
	{key: "add/mariadb11.8/256", name: "/addToCart, MariaDB 11.8, 256 connections", what: add, engine: newMariaDB, connections: 256},
	{key: "checkout/hot/mariadb11.8/256", name: "/checkOutCart, MariaDB 11.8, one hot product, 256 connections", what: checkout, engine: newMariaDB, connections: 256, hot: true},
	{key: "checkout/spread/mariadb11.8/512", name: "/checkOutCart, MariaDB 11.8, 10,000 products, 512 connections", what: checkout, engine: newMariaDB, connections: 512},
}, storefrontLoads()...)

// storefrontLoads are rows without a target: the routes of a storefront, and sale events.
func storefrontLoads() (all []load) {
	const connections = 256
	for _, engine := range []string{embedded, mariadb, mysql97} {
		name := ", " + engineName(engine) + ", 256 connections"
		all = append(all,
			load{key: "cart/" + engine, name: "GET /cart" + name, what: showCart, engine: engine, connections: connections},
			load{key: "update/" + engine, name: "/updateCart" + name, what: update, engine: engine, connections: connections, hot: true},
			load{key: "cancel/" + engine, name: "/cancelCheckout" + name, what: cancel, engine: engine, connections: connections},
			load{key: "events/" + engine, name: "/checkOutCart with sale events" + name, what: checkout, engine: engine, connections: connections, events: true},
		)
	}
	return all
}

// shop names the instance that the row measures; rows may share one.
func (l load) shop() string {
	if l.events {
		return l.engine + " with events"
	}
	return l.engine
}

// openFor opens a shop for a row.
func (b *bench) openFor(ctx context.Context, l load) (*shop, error) {
	if !l.events {
		return b.openShop(ctx, l.engine)
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.closers = append(b.closers, func() error { receiver.Close(); return nil })
	return b.openShop(ctx, l.engine, "--webhook-url", receiver.URL)
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

// checkoutsOfBaseline is the share of the no-op baseline for which carts are filled. Where
// checkouts are faster, the carts run out, which shows.
const checkoutsOfBaseline = 0.6

// singleConnections are tried with BATCH_SIZE=1; the best counts.
var singleConnections = []int{16, 64, 256}

// A shop is an instance on a store of its own.
type shop struct {
	*instance

	store  *store
	filled int             // how often carts were filled
	warm   map[string]bool // kinds of request that the instance has served
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
	return &shop{instance: i, store: s, warm: map[string]bool{}}, err
}

// capacity measures the requests a second of each row. In every round the no-op baseline comes
// first and then the rows that compare with it: a slow machine is slow for both. The embedded
// engine comes first: a MySQL server goes on writing for a while after its load has ended.
func (b *bench) capacity(ctx context.Context) error {
	wanted, compared := b.wantedLoads()
	shops := map[string]*shop{}
	runs := map[string][]outcome{}
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
		if err := b.rounds(ctx, group, shops, runs); err != nil {
			return err
		}
	}
	for _, s := range shops {
		if err := s.stop(); err != nil {
			return err
		}
	}
	for _, one := range compared {
		if len(runs[one.load]) == 0 {
			continue // which was told
		}
		if err := b.compare(ctx, one, runs[one.load]); err != nil {
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

// rounds measures rows that share a no-op baseline.
func (b *bench) rounds(ctx context.Context, group []load, shops map[string]*shop, runs map[string][]outcome) error {
	what, connections := group[0].what, group[0].connections
	null, err := b.nullBase(ctx)
	if err != nil {
		return err
	}
	var baseline []outcome
	failed := map[string]bool{}
	for round := range b.settings.rounds {
		group := group
		if round > 0 { // a row without a target has one round
			group = slices.DeleteFunc(slices.Clone(group), func(l load) bool { return l.target == 0 })
		}
		if len(group) == 0 {
			break
		}
		o, err := b.measureNull(ctx, null, what, connections)
		if err != nil {
			return err
		}
		baseline = append(baseline, o)
		b.progressf("no-op baseline of %s over %d connections: %.0f/s, p50 %.2f ms, p99 %.2f ms", what, connections, o.rate(), o.P50/1e3, o.P99/1e3)
		for _, l := range group {
			if failed[l.key] {
				continue
			}
			o, err := b.measureLoad(ctx, l, shops, checkoutsOfBaseline*o.rate())
			if err != nil {
				failed[l.key] = true
				if err := b.missed(ctx, l.key, err); err != nil {
					return err
				}
				continue
			}
			runs[l.key] = append(runs[l.key], o)
			b.progressf("%s: %.0f/s (%.2f of the baseline), p50 %.2f ms, p99 %.2f ms",
				l.key, o.rate(), o.rate()/baseline[len(baseline)-1].rate(), o.P50/1e3, o.P99/1e3)
		}
	}
	for _, l := range group {
		if failed[l.key] {
			delete(runs, l.key)
			continue
		}
		relation := atLeast
		if l.target == 0 {
			relation = shown
		}
		b.report.add(row{
			Key: l.key, Name: l.name,
			Measured: rates(runs[l.key]), BaseName: "no-op baseline", Base: rates(baseline),
			Relation: relation, Target: l.target, Cost: costOf(runs[l.key]),
		})
	}
	return nil
}

// measureLoad measures a row once, on its shop, and opens that first.
func (b *bench) measureLoad(ctx context.Context, l load, shops map[string]*shop, atMost float64) (o outcome, err error) {
	if shops[l.shop()] == nil {
		s, err := b.openFor(ctx, l)
		if err != nil {
			return o, err
		}
		shops[l.shop()] = s
	}
	return b.measure(ctx, shops[l.shop()], l.what, l.connections, l.hot, atMost)
}

func (b *bench) measureNull(ctx context.Context, base, what string, connections int) (outcome, error) {
	t := traffic{what: what, prefix: "c", clients: adders, products: products}
	if what != add {
		t.prefix = "b000-"
	}
	if !b.nullWarm {
		if _, err := b.attack(ctx, base, t, connections, b.settings.warm); err != nil {
			return outcome{}, err
		}
		b.nullWarm = true
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
	if what != add {
		t.prefix = s.prefix()
		t.clients = int(atMost*(b.settings.warm+b.settings.measured).Seconds()) + 2*connections
		if what == showCart || what == update {
			t.clients, t.products = products, 1
		}
		fill := func() error { return s.store.fill(ctx, t.prefix, 0, t.clients, hot) }
		if what == cancel {
			fill = func() error { return s.store.fillSold(ctx, t.prefix, t.clients) }
		}
		if err := fill(); err != nil {
			return outcome{}, err
		}
	}
	if err := s.store.quiet(ctx); err != nil {
		return outcome{}, err
	}
	if !s.warm[what] {
		warm, err := b.attack(ctx, s.base, t, connections, b.settings.warm)
		if err != nil {
			return outcome{}, err
		}
		if err := s.store.quiet(ctx); err != nil {
			return outcome{}, err
		}
		t.first, s.warm[what] = warm.Next, true
	}
	before, err := s.stored(ctx, t)
	if err != nil {
		return outcome{}, err
	}
	o, err := b.attackTimed(ctx, s, t, connections)
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
	if what == showCart || what == update { // they leave nothing to count
		return o, nil
	}
	if stored := after - before; stored < o.Requests || stored > o.Requests+connections {
		return outcome{}, fmt.Errorf("%d requests were answered, and %d are stored", o.Requests, stored)
	}
	return o, nil
}

// attackTimed is attack with the processor time of the server and its database.
func (b *bench) attackTimed(ctx context.Context, s *shop, t traffic, connections int) (o outcome, err error) {
	pids := []int{s.command.Process.Pid}
	if server := b.servers[s.store.engine]; server != nil {
		pids = append(pids, server.PID())
	}
	before, err := processorTime(pids...)
	if err != nil {
		return o, err
	}
	if o, err = b.attack(ctx, s.base, t, connections, b.settings.measured); err != nil {
		return o, err
	}
	after, err := processorTime(pids...)
	o.CPU = float64((after - before).Microseconds()) / float64(max(1, o.Requests))
	return o, err
}

// stored counts what requests of this kind have left behind, once nothing of them is under way any
// more.
func (s *shop) stored(ctx context.Context, t traffic) (int, error) {
	for last := -1; ; {
		var now int
		var err error
		switch t.what {
		case add:
			now, err = s.store.units(ctx)
		case checkout:
			now, err = s.store.settled(ctx, t.prefix, "committed")
		case cancel:
			now, err = s.store.settled(ctx, t.prefix, "cancelled")
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
func (b *bench) compare(ctx context.Context, one single, batched []outcome) error {
	l := loadOf(one.load)
	s, err := b.openShop(ctx, l.engine, "--batch-size", "1")
	if err != nil {
		return err
	}
	var best float64
	for _, connections := range singleConnections {
		// No better than the batches, one hopes; else the carts run out, which shows.
		o, err := b.measure(ctx, s, l.what, connections, l.hot, rates(batched).Value)
		if err != nil {
			return err
		}
		best = max(best, o.rate())
		b.progressf("%s: BATCH_SIZE=1 over %d connections: %.0f/s", one.key, connections, o.rate())
	}
	b.report.add(row{
		Key: one.key, Name: one.name,
		Measured: rates(batched), BaseName: "BATCH_SIZE=1, best of 16, 64, 256 connections", Base: amountOf(best, "/s"),
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

package main

import (
	"context"
	"fmt"
)

const (
	overloadTimes       = 5
	overloadPeakCallers = 512
	overloadCallers     = 6000 // more than the queues and the places in flight hold together with what is being written
	overloadGoodput     = 0.8
	refusedWithinMS     = 300
)

// overload offers five times what a shop can do. The generator has one processor for itself and the
// shop and its database have the others, at the peak and beyond it alike: else the generator, which
// works five times as hard, would take from the shop what it measures.
func (b *bench) overload(ctx context.Context) error {
	for _, engine := range engines {
		if !b.wantsAny("overload/add/"+engine, "overload/checkout/"+engine) {
			continue
		}
		s, err := b.openShop(ctx, engine)
		if err != nil {
			return err
		}
		processes := []int{s.command.Process.Pid}
		if engine == mariadb && b.servers[engine] != nil {
			processes = append(processes, b.servers[engine].PID())
		}
		free, err := keepOff(processes...)
		if err != nil {
			return fmt.Errorf("give the generator a processor: %w", err)
		}
		for _, what := range []string{add, checkout} {
			key := "overload/" + what + "/" + engine
			if !b.settings.wants(key) {
				continue
			}
			if err := b.overloadWith(ctx, key, what, s); err != nil {
				if err := b.missed(ctx, key, err); err != nil {
					return err
				}
			}
		}
		if err := free(); err != nil {
			return err
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) overloadWith(ctx context.Context, key, what string, s *shop) error {
	// A first look, to know how many requests make a run.
	t, _, err := b.offerMany(ctx, s, what, atOnce, 8000, overloadPeakCallers)
	if err != nil {
		return err
	}
	guess := float64(len(t.succeeded)) / t.took.Seconds()
	t, _, err = b.offerMany(ctx, s, what, atOnce, int(guess*b.settings.measured.Seconds()), overloadPeakCallers)
	if err != nil {
		return err
	}
	if err := t.clean(); err != nil {
		return err
	}
	peak := float64(len(t.succeeded)) / t.took.Seconds()
	rate := overloadTimes * peak
	length := b.settings.warm + b.settings.measured
	t, stored, err := b.offerMany(ctx, s, what, rate, int(rate*length.Seconds()), overloadCallers)
	if err != nil {
		return err
	}
	if stored < len(t.succeeded) || stored > len(t.succeeded)+t.failed {
		return fmt.Errorf("%d succeeded, %d were not answered, and %d are stored", len(t.succeeded), t.failed, stored)
	}
	// Not what is answered when nobody offers anything any more.
	goodput := t.goodput(b.settings.warm, length)
	refused := percentile(t.refused, 99)
	note := fmt.Sprintf("offered %.0f/s over %d connections: sent %.0f/s, the others' time came while all connections were busy; "+
		"answers %v, %d none; p99 of successes %.0f ms",
		rate, overloadCallers, float64(t.sent)/length.Seconds(), t.statuses, t.failed, percentile(t.succeeded, 99))
	b.progressf("%s: peak %.0f/s, goodput %.0f/s, refusals' p99 %.1f ms; %s", key, peak, goodput, refused, note)
	name := fmt.Sprintf("%s, %s, at five times the capacity", pathOf(what), engineName(s.store.engine))
	b.report.add(row{
		Key: key, Name: name + ": goodput", Measured: amountOf(goodput, "/s"), BaseName: "peak", Base: amountOf(peak, "/s"),
		Relation: atLeast, Target: overloadGoodput, Note: note,
	})
	if len(t.refused) > 0 {
		b.report.add(row{
			Key: key, Name: name + ": refusals' p99", Measured: amountOf(refused, "ms"), Relation: atMost, Target: refusedWithinMS,
		})
	}
	return nil
}

// offerMany makes an offer for which carts are filled, and returns how many requests left something
// behind.
func (b *bench) offerMany(ctx context.Context, s *shop, what string, rate float64, requests, connections int) (t *taking, stored int, err error) {
	b.seed++
	o := offer{
		base: s.base, what: what, rate: rate, requests: requests, connections: connections, drop: rate != atOnce,
		body: randomAdds(b.seed, adders, products),
	}
	count := traffic{what: what, prefix: "c"}
	if what == checkout {
		count.prefix = s.prefix()
		if err := s.store.fill(ctx, count.prefix, 0, requests, false); err != nil {
			return nil, 0, err
		}
		o.body = checkoutsOf(count.prefix, 0)
	}
	if err := s.store.quiet(ctx); err != nil {
		return nil, 0, err
	}
	before, err := s.stored(ctx, count)
	if err != nil {
		return nil, 0, err
	}
	if t, err = o.take(ctx); err != nil {
		return nil, 0, err
	}
	if err := s.store.quiet(ctx); err != nil {
		return nil, 0, err
	}
	after, err := s.stored(ctx, count)
	return t, after - before, err
}

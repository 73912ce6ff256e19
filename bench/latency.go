package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	openConnections = 256 // of adds that do not wait for each other
	paymentLatency  = 2 * time.Second
	paymentsAtOnce  = 1000 // that wait for the payment
	halfWithinMS    = 10   // target of the adds' p99 at half of the peak rate
	addsWithinMS    = 20   // target of it beside these payments
)

// latency measures how long adds take that come at half of the peak rate, alone and while checkouts
// wait to be paid.
func (b *bench) latency(ctx context.Context) error {
	for _, engine := range engines {
		half, payment := "latency/half/"+engine, "latency/payment/"+engine
		if !b.wantsAny(half, payment) {
			continue
		}
		s, err := b.openShop(ctx, engine, "--payment-url", "sandbox:?latency="+paymentLatency.String())
		if err != nil {
			return err
		}
		peak, err := b.measure(ctx, s, add, openConnections, false, 0)
		if err != nil {
			return err
		}
		b.progressf("latency/%s: the peak is %.0f/s", engine, peak.rate())
		if b.settings.wants(half) {
			if err := b.halfOfPeak(ctx, s, half, peak.rate()/2); err != nil {
				if err := b.missed(ctx, half, err); err != nil {
					return err
				}
			}
		}
		if b.settings.wants(payment) {
			if err := b.whilePaying(ctx, s, payment, peak.rate()/2); err != nil {
				if err := b.missed(ctx, payment, err); err != nil {
					return err
				}
			}
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	return nil
}

// adds are an offer of adds at a rate for so long.
func (b *bench) adds(base string, rate float64, length time.Duration) offer {
	b.seed++
	return offer{
		base: base, what: add, rate: rate, requests: int(rate * length.Seconds()), connections: openConnections,
		body: randomAdds(b.seed, adders, products),
	}
}

// steady makes an offer of adds, with a warm-up, and expects all to succeed.
func (b *bench) steady(ctx context.Context, base string, rate float64) (*taking, error) {
	for _, length := range []time.Duration{b.settings.warm, b.settings.measured} {
		t, err := b.adds(base, rate, length).take(ctx)
		if err == nil {
			err = t.clean()
		}
		if err != nil || length == b.settings.measured {
			return t, err
		}
	}
	return nil, nil
}

func (b *bench) halfOfPeak(ctx context.Context, s *shop, key string, rate float64) error {
	if err := s.store.quiet(ctx); err != nil {
		return err
	}
	null, err := b.nullBase(ctx)
	if err != nil {
		return err
	}
	n, err := b.steady(ctx, null, rate)
	if err != nil {
		return err
	}
	t, err := b.steady(ctx, s.base, rate)
	if err != nil {
		return err
	}
	b.report.add(row{
		Key: key, Name: fmt.Sprintf("/addToCart, %s, open loop at half of peak (%.0f/s), p99", engineName(s.store.engine), rate),
		Measured: amountOf(percentile(t.succeeded, 99), "ms"), Relation: atMost, Target: halfWithinMS, Cost: t.cost(),
		Note: fmt.Sprintf("no-op baseline at this rate: p99 %.2f ms", percentile(n.succeeded, 99)),
	})
	return nil
}

func (b *bench) whilePaying(ctx context.Context, s *shop, key string, rate float64) error {
	// So many begin each second that as many wait as we want. They begin one payment's time before
	// the adds do.
	const begin = paymentsAtOnce / int(paymentLatency/time.Second)
	seconds := (paymentLatency + b.settings.warm + b.settings.measured).Seconds() + 2
	checkouts := int(seconds * float64(begin))
	prefix := s.prefix()
	if err := s.store.fill(ctx, prefix, 0, checkouts, false); err != nil {
		return err
	}
	if err := s.store.quiet(ctx); err != nil {
		return err
	}
	var waiting int
	var taken *taking
	var all errgroup.Group
	all.Go(func() error {
		t, err := offer{
			base: s.base, what: checkout, rate: float64(begin), requests: checkouts, connections: paymentsAtOnce * 11 / 10,
			body: checkoutsOf(prefix, 0),
		}.take(ctx)
		if err != nil {
			return err
		}
		return t.clean()
	})
	all.Go(func() (err error) {
		if err := wait(ctx, paymentLatency+time.Second); err != nil {
			return err
		}
		taken, err = b.steady(ctx, s.base, rate)
		return err
	})
	all.Go(func() (err error) {
		if err := wait(ctx, paymentLatency+time.Second+b.settings.warm+b.settings.measured/2); err != nil {
			return err
		}
		waiting, err = s.store.number(ctx, "SELECT COUNT(*) FROM checkout_journal WHERE state = 'reserved'")
		return err
	})
	if err := all.Wait(); err != nil {
		return err
	}
	if waiting < paymentsAtOnce*9/10 {
		return fmt.Errorf("%d checkouts waited for their payments, and not %d", waiting, paymentsAtOnce)
	}
	b.progressf("%s: at %.0f/s, p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, %d checkouts waiting", key, rate,
		percentile(taken.succeeded, 50), percentile(taken.succeeded, 99), percentile(taken.succeeded, 99.9), waiting)
	b.report.add(row{
		Key: key, Name: fmt.Sprintf("/addToCart, %s, p99 at half of peak while checkouts wait for a 2 s payment", engineName(s.store.engine)),
		Measured: amountOf(percentile(taken.succeeded, 99), "ms"), Relation: atMost, Target: addsWithinMS, Cost: taken.cost(),
		Note: fmt.Sprintf("%d checkouts waited, counted half way; %.0f adds a second", waiting, rate),
	})
	return nil
}

// wait waits beside a context.
func wait(ctx context.Context, length time.Duration) error {
	select {
	case <-time.After(length):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

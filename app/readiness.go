package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cartwheel/checkout"
	"cartwheel/database"
)

// probeInterval is how long the result of a probe is valid: balancers of many instances probe
// often.
const probeInterval = time.Second

// probeTimeout is the maximum time of a probe. A caller that leaves does not end it: others share
// its result.
const probeTimeout = 2 * time.Second

// A cachedProbe runs at most one probe in probeInterval. Callers at the same time share it.
type cachedProbe struct {
	run func(context.Context) error

	mu   sync.Mutex
	last time.Time // guarded by mu
	err  error     // of the last probe; guarded by mu
}

func (p *cachedProbe) result(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.last) < probeInterval {
		return p.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	p.err = p.run(ctx)
	p.last = time.Now()
	return p.err
}

// Ready returns why this instance should receive no requests, or nil: then an add would work. Its
// text is public.
func (r *running) Ready(ctx context.Context) error {
	if r.draining.Load() {
		return checkout.ErrDraining
	}
	for _, q := range r.queues() {
		if q.Full() {
			return fmt.Errorf("the queue %s is full", q.Name())
		}
	}
	err := r.probe.result(ctx)
	if err != nil {
		r.log.Debug("not ready", "error", err)
		if !errors.Is(err, database.ErrUnavailable) {
			return errors.New("the database refuses writes")
		}
		return database.ErrUnavailable // the reason is not public
	}
	return nil
}

// probed is Ready for load balancers, whose probes it notes, unlike the dashboard's.
func (r *running) probed(ctx context.Context) error {
	r.lastProbe.Store(time.Now().UnixNano())
	return r.Ready(ctx)
}

// awaitBalancers makes the instance not ready. It returns after balancerGrace, in which load
// balancers stop sending requests, or at once when none probed within the last balancerGrace.
func (r *running) awaitBalancers() {
	r.draining.Store(true)
	if time.Since(time.Unix(0, r.lastProbe.Load())) < balancerGrace {
		<-time.After(balancerGrace)
	}
}

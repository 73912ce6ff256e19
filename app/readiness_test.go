package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestCachedProbe_runsOncePerInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		runs := 0
		p := cachedProbe{run: func(context.Context) error { runs++; return broken }}
		for range 100 {
			if err := p.result(t.Context()); !errors.Is(err, broken) {
				t.Fatal(err)
			}
		}
		if runs != 1 {
			t.Errorf("%d probes, want 1", runs)
		}
		<-time.After(probeInterval)
		_ = p.result(t.Context())
		if runs != 2 {
			t.Errorf("%d probes after the interval, want 2", runs)
		}
	})
}

func TestCachedProbe_callerThatLeavesDoesNotFailIt(t *testing.T) {
	t.Parallel()
	left, leave := context.WithCancel(t.Context())
	leave()
	p := cachedProbe{run: func(ctx context.Context) error { return ctx.Err() }}
	if err := p.result(left); err != nil {
		t.Errorf("the probe ended with its caller: %v", err)
	}
}

func TestShutdown_waitsForLoadBalancersThatProbe(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		age  time.Duration // of the last probe; 0: none
		want time.Duration
	}{
		"nobody probes":   {0, 0},
		"probes recently": {balancerGrace - 1, balancerGrace},
		"probes no more":  {balancerGrace, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := &running{}
				r.draining.Store(true)
				if test.age > 0 {
					if err := r.probed(t.Context()); err == nil {
						t.Error("it is ready")
					}
					<-time.After(test.age)
				}
				began := time.Now()
				r.awaitBalancers()
				if waited := time.Since(began); waited != test.want {
					t.Errorf("waited %v, want %v", waited, test.want)
				}
			})
		})
	}
}

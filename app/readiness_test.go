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

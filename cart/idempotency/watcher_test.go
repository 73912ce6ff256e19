package idempotency_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cartwheel/cart/idempotency"
)

var watched = idempotency.Key{ClientID: "ann", Endpoint: "checkOutCart", Key: "key"}

func TestWatcher_pollsOnceForAllRepeatsOfAKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const repeats = 4000
		var polls atomic.Int64
		answered := time.Now().Add(10 * time.Second)
		w := idempotency.NewWatcherOf(func(context.Context, idempotency.Key) (idempotency.Record, bool, error) {
			polls.Add(1)
			if time.Now().Before(answered) {
				return idempotency.Record{}, true, nil
			}
			return idempotency.Record{Response: idempotency.Response{Status: 200}}, true, nil
		})
		var all sync.WaitGroup
		for range repeats {
			all.Go(func() {
				record, found, err := w.Wait(t.Context(), watched)
				if record.Status != 200 || !found || err != nil {
					t.Errorf("got %v, %v, %v", record, found, err)
				}
			})
		}
		all.Wait()
		if n := polls.Load(); n > 50 { // in 10 seconds, with up to 250 ms between two
			t.Errorf("%d repeats took %d polls", repeats, n)
		}
	})
}

func TestWatcher_anotherRepeatPollsWhenTheFirstLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var answered atomic.Bool
		w := idempotency.NewWatcherOf(func(context.Context, idempotency.Key) (idempotency.Record, bool, error) {
			return idempotency.Record{}, !answered.Load(), nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, _, err := w.Wait(ctx, watched)
			first <- err
		}()
		second := make(chan bool, 1)
		go func() {
			_, found, _ := w.Wait(t.Context(), watched)
			second <- found
		}()
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first got %v", err)
		}
		answered.Store(true)
		if <-second {
			t.Error("the second found a key that is gone")
		}
		if n := w.Waiting(watched); n != 0 {
			t.Errorf("%d callers are still registered", n)
		}
	})
}

func TestWatcher_waitsWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(5 * time.Second)
		w := idempotency.NewWatcherOf(func(context.Context, idempotency.Key) (idempotency.Record, bool, error) {
			if time.Now().Before(back) {
				return idempotency.Record{}, false, errors.New("away")
			}
			return idempotency.Record{Response: idempotency.Response{Status: 409}}, true, nil
		})
		if record, found, err := w.Wait(t.Context(), watched); record.Status != 409 || !found || err != nil {
			t.Errorf("got %v, %v, %v", record, found, err)
		}
	})
}

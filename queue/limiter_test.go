package queue_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cartwheel/queue"
)

func TestLimiter_waitingQueueGathersItsBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := queue.NewLimiter(1)
		goOn := make(chan struct{})
		var sizes []int
		busy := newLimitedQueue(t, limiter, func(int) { <-goOn })
		other := newLimitedQueue(t, limiter, func(jobs int) { sizes = append(sizes, jobs) })
		var asking sync.WaitGroup
		asking.Go(func() { _, _ = busy.Do(t.Context(), "", 0) })
		synctest.Wait()
		for range 5 {
			asking.Go(func() { _, _ = other.Do(t.Context(), "", 0) })
			synctest.Wait()
		}
		if len(sizes) != 0 {
			t.Errorf("ran beside a full limiter, in batches of %v", sizes)
		}
		close(goOn)
		asking.Wait()
		if len(sizes) != 1 || sizes[0] != 5 {
			t.Errorf("batches of %v, want one of 5", sizes)
		}
	})
}

// A batch that waits for a locked row delays other queues by the timeout only.
func TestLimiter_acquireTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := queue.NewLimiter(1)
		goOn := make(chan struct{})
		busy := newLimitedQueue(t, limiter, func(int) { <-goOn })
		other := newLimitedQueue(t, limiter, func(int) {})
		var asking sync.WaitGroup
		asking.Go(func() { _, _ = busy.Do(t.Context(), "", 0) })
		synctest.Wait()
		began := time.Now()
		for range 3 {
			if _, err := other.Do(t.Context(), "", 0); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took <= 0 || took > 100*time.Millisecond {
			t.Errorf("three jobs took %v beside one that does not end", took)
		}
		close(goOn)
		asking.Wait()
	})
}

func TestLimiter_panicReleasesThePlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := queue.NewLimiter(1)
		var calls atomic.Int64
		failing := newLimitedQueue(t, limiter, func(int) {
			if calls.Add(1)%2 == 0 {
				panic("broken")
			}
		})
		other := newLimitedQueue(t, limiter, func(int) {})
		began := time.Now()
		for range 6 {
			if _, err := failing.Do(t.Context(), "", 0); err != nil && !errors.Is(err, queue.ErrPanicked) {
				t.Error(err)
			}
			if _, err := other.Do(t.Context(), "", 0); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("a free slot was waited for: %v", took)
		}
	})
}

func TestLimiter_longestWaitInSumIsNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := queue.NewLimiter(1)
		goOn := make(chan struct{})
		var order []string
		busy := newLimitedQueue(t, limiter, func(int) { <-goOn })
		few := newLimitedQueue(t, limiter, func(int) { order = append(order, "few") })
		many := newLimitedQueue(t, limiter, func(int) { order = append(order, "many"); time.Sleep(time.Millisecond) }) //nolint:forbidigo // synctest's time
		var asking sync.WaitGroup
		ask := func(q *queue.Queue[int, int], jobs int) {
			for range jobs {
				asking.Go(func() { _, _ = q.Do(t.Context(), "", 0) })
			}
			synctest.Wait()
			time.Sleep(time.Millisecond) //nolint:forbidigo // likewise
		}
		ask(busy, 1)
		ask(few, 1)  // has waited 2 ms in the end: 2 ms of one job
		ask(many, 8) // 1 ms: 8 ms of eight jobs
		close(goOn)
		asking.Wait()
		if want := []string{"many", "few"}; !slices.Equal(order, want) {
			t.Errorf("slots were granted to %v, want %v", order, want)
		}
		// A queue with few jobs gets its slot, too.
		order = nil
		goOn = make(chan struct{})
		ask(busy, 1)
		ask(few, 1)
		time.Sleep(9 * time.Millisecond) //nolint:forbidigo // likewise
		ask(many, 8)                     // 8 ms of eight jobs, and 11 of the one
		close(goOn)
		asking.Wait()
		if want := []string{"few", "many"}; !slices.Equal(order, want) {
			t.Errorf("slots were granted to %v, want %v", order, want)
		}
	})
}

func newLimitedQueue(t *testing.T, limiter *queue.Limiter, work func(jobs int)) *queue.Queue[int, int] {
	t.Helper()
	q := queue.New(queue.Config[int, int]{
		Name: "limited", Shards: 1, Capacity: 10, BatchSize: 10, Limiter: limiter,
		Work: func(_ context.Context, jobs []int, _ []queue.Answer[int]) error {
			work(len(jobs))
			return nil
		},
	})
	t.Cleanup(func() { _ = q.Close(context.Background()) })
	return q
}

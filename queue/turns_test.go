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

// What comes while a queue waits for its turn goes into the batch that it gathers then.
func TestAQueueGathersItsBatchWhenItIsItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := queue.NewTurns(1)
		goOn := make(chan struct{})
		var sizes []int
		busy := newTurnQueue(t, turns, func(int) { <-goOn })
		other := newTurnQueue(t, turns, func(jobs int) { sizes = append(sizes, jobs) })
		var asking sync.WaitGroup
		asking.Go(func() { _, _ = busy.Do(t.Context(), "", 0) })
		synctest.Wait()
		for range 5 {
			asking.Go(func() { _, _ = other.Do(t.Context(), "", 0) })
			synctest.Wait()
		}
		if len(sizes) != 0 {
			t.Errorf("worked out of turn, in batches of %v", sizes)
		}
		close(goOn)
		asking.Wait()
		if len(sizes) != 1 || sizes[0] != 5 {
			t.Errorf("batches of %v, want one of 5", sizes)
		}
	})
}

// Somebody who does not end, because a row is locked for long, does not hold up the others for long.
func TestATurnIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := queue.NewTurns(1)
		goOn := make(chan struct{})
		busy := newTurnQueue(t, turns, func(int) { <-goOn })
		other := newTurnQueue(t, turns, func(int) {})
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

func TestATurnIsGivenBackByWhoeverFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := queue.NewTurns(1)
		var calls atomic.Int64
		failing := newTurnQueue(t, turns, func(int) {
			if calls.Add(1)%2 == 0 {
				panic("broken")
			}
		})
		other := newTurnQueue(t, turns, func(int) {})
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
			t.Errorf("a turn was waited for %v that nobody had", took)
		}
	})
}

// Many jobs that wait for a little count for more than one that waits for longer: each transaction of the one delays all of the others.
func TestTheNextTurnIsThatOfTheJobsThatWaitedMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := queue.NewTurns(1)
		goOn := make(chan struct{})
		var order []string
		busy := newTurnQueue(t, turns, func(int) { <-goOn })
		few := newTurnQueue(t, turns, func(int) { order = append(order, "few") })
		many := newTurnQueue(t, turns, func(int) { order = append(order, "many"); time.Sleep(time.Millisecond) }) //nolint:forbidigo // the bubble's time
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
			t.Errorf("the turns were those of %v, want %v", order, want)
		}
		// However few its jobs are, a queue comes to its turn.
		order = nil
		goOn = make(chan struct{})
		ask(busy, 1)
		ask(few, 1)
		time.Sleep(9 * time.Millisecond) //nolint:forbidigo // likewise
		ask(many, 8)                     // 8 ms of eight jobs, and 11 of the one
		close(goOn)
		asking.Wait()
		if want := []string{"few", "many"}; !slices.Equal(order, want) {
			t.Errorf("the turns were those of %v, want %v", order, want)
		}
	})
}

func newTurnQueue(t *testing.T, turns *queue.Turns, work func(jobs int)) *queue.Queue[int, int] {
	t.Helper()
	q := queue.New(queue.Config[int, int]{
		Name: "turns", Shards: 1, Capacity: 10, BatchSize: 10, Turns: turns,
		Work: func(_ context.Context, jobs []int, _ []queue.Answer[int]) error {
			work(len(jobs))
			return nil
		},
	})
	t.Cleanup(func() { _ = q.Close(context.Background()) })
	return q
}

package queue_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/queue"
)

func TestQueue_closeDrainsAcceptedJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var refused error
		var worksErr error
		q, gate := newGated(t, queue.Config[int, int]{
			Shards: 3, Capacity: 10, BatchSize: 3,
			Weight:  func(job int) int { return job },
			Observe: queue.Observer{Refused: func(err error) { refused = err }},
			Work: func(ctx context.Context, jobs []int, answers []queue.Answer[int]) error {
				worksErr = errors.Join(worksErr, ctx.Err())
				return echo(ctx, jobs, answers)
			},
		})
		gate.occupy(t, q)
		accepted := doEach(q, 1, 3, 2) // with one to carry over
		closed := make(chan error, 1)
		go func() { closed <- q.Close(t.Context()) }()
		synctest.Wait()

		if _, err := q.Do(t.Context(), "key", 1); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("Do once Close has begun: got %v, want ErrClosed", err)
		}
		if !errors.Is(refused, queue.ErrClosed) {
			t.Errorf("observed refusal: got %v, want ErrClosed", refused)
		}
		select {
		case err := <-closed:
			t.Errorf("Close returned %v with jobs under way", err)
		default:
		}
		gate.open()
		accepted.wantAnswers(t, 1, 3, 2)
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		if worksErr != nil {
			t.Errorf("Work's context: got %v, want one that has not ended", worksErr)
		}
	})
}

func TestQueue_closeMayBeRepeated(t *testing.T) {
	t.Parallel()
	q, gate := newGated(t, queue.Config[int, int]{Shards: 3})
	gate.occupy(t, q)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { closeNow(t, q) })
	}
	gate.open()
	wg.Wait()
	closeNow(t, q)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if err := q.Close(ended); err != nil {
			t.Fatalf("Close of a closed queue with an ended context: got %v, want nil", err)
		}
	}
}

func TestQueue_closeCancelsWorkWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		linger := make(chan struct{})
		q, gate := newGated(t, queue.Config[int, int]{
			Capacity: 10, BatchSize: 10,
			Weight: func(job int) int { return job },
			Work: func(ctx context.Context, jobs []int, answers []queue.Answer[int]) error {
				if jobs[0] == occupying {
					return echo(ctx, jobs, answers)
				}
				<-ctx.Done()
				<-linger
				return ctx.Err()
			},
		})
		gate.occupy(t, q)
		underWay := doEach(q, 6)
		waiting := doEach(q, 7, 8) // the first of them held
		gone, leave := context.WithCancel(t.Context())
		left := startEach(gone, q.Do, 9)
		leave()
		left.wantErrors(t, queue.ErrNotStarted)
		gate.open()
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := q.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: got %v, want context.DeadlineExceeded", err)
		}
		if got := time.Since(began); got != time.Minute {
			t.Errorf("Close returned after %v, want 1m0s", got)
		}

		closed := make(chan error, 1)
		go func() { closed <- q.Close(context.Background()) }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Errorf("another Close returned %v while Work lingers", err)
		default:
		}
		close(linger)
		underWay.wantErrors(t, context.Canceled)
		waiting.wantErrors(t, queue.ErrClosed, queue.ErrClosed)
		if err := <-closed; err != nil {
			t.Errorf("another Close, once all has ended: %v", err)
		}
		if diff := cmp.Diff([][]int{{6}}, gate.done()); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		if got := q.Depth(); got != 0 {
			t.Errorf("depth in the end: got %d, want 0", got)
		}
	})
}

package queue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/queue"
)

func TestQueue_endedContextIsRefused(t *testing.T) {
	t.Parallel()
	q, gate := newGated(t, queue.Config[int, int]{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // an idle worker would take some of them
		if _, err := q.Do(ctx, "key", 1); !errors.Is(err, queue.ErrNotStarted) || !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want ErrNotStarted and context.Canceled", err)
		}
	}
	closeNow(t, q)
	if got := gate.done(); got != nil {
		t.Errorf("jobs run: got %v, want none", got)
	}
}

func TestQueue_abandonedJobIsNeverRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, gate := newGated(t, queue.Config[int, int]{
			Capacity: 10, BatchSize: 3,
			Weight: func(job int) int { return job },
		})
		gate.occupy(t, q)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		gone := startEach(ctx, q.Do, 1)
		stays := doEach(q, 2)
		gone = append(gone, startEach(ctx, q.DoToEnd, 3)...)
		stays = append(stays, doEach(q, 1)...)

		gone.wantErrors(t, queue.ErrNotStarted, queue.ErrNotStarted)
		if got := q.Depth(); got != 4 {
			t.Errorf("depth: got %d, want 4, as the worker has not come past those that left", got)
		}
		gate.open()
		stays.wantAnswers(t, 2, 1)
		closeNow(t, q)
		// In one batch: the jobs of those that left have no weight.
		if diff := cmp.Diff([][]int{{2, 1}}, gate.done()); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		if got := q.Depth(); got != 0 {
			t.Errorf("depth in the end: got %d, want 0", got)
		}
	})
}

func TestQueue_callerMayAbandonAStartedJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var worksErr error
		q, gate := newGated(t, queue.Config[int, int]{
			Work: func(ctx context.Context, jobs []int, answers []queue.Answer[int]) error {
				worksErr = ctx.Err()
				return echo(ctx, jobs, answers)
			},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := q.Do(ctx, "key", occupying) // nothing opens the gate
		if !errors.Is(err, queue.ErrUnanswered) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want ErrUnanswered and context.DeadlineExceeded", err)
		}
		if got := time.Since(began); got != time.Second {
			t.Errorf("left after %v, want 1s", got)
		}
		gate.open()
		closeNow(t, q)
		if worksErr != nil {
			t.Errorf("Work's context: got %v, want one that does not end with the caller's", worksErr)
		}
	})
}

func TestQueue_finishWaitsForAStartedJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, gate := newGated(t, queue.Config[int, int]{})
		ctx, cancel := context.WithCancel(t.Context())
		caller := startEach(ctx, q.DoToEnd, occupying)
		cancel()
		synctest.Wait()
		select {
		case got := <-caller[0]:
			t.Errorf("got %v while the job is under way, want to wait", got)
		default:
		}
		gate.open()
		caller.wantAnswers(t, occupying)
	})
}

func TestQueue_answerOfAnAbandonedJobIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, gate := newGated(t, queue.Config[int, int]{Capacity: 10, BatchSize: 10})
		ctx, cancel := context.WithCancel(t.Context())
		left := startEach(ctx, q.Do, occupying)
		<-gate.entered
		cancel()
		left.wantErrors(t, queue.ErrUnanswered)
		next := doEach(q, 1, 2)
		gate.open()
		next.wantAnswers(t, 1, 2)
		doEach(q, 3, 4, 5).wantAnswers(t, 3, 4, 5)
	})
}

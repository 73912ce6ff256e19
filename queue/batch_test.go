package queue_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"weak"

	"github.com/google/go-cmp/cmp"

	"cartwheel/queue"
)

var (
	errOneJobs = errors.New("one job's fault")
	errAll     = errors.New("everyone's fault")
)

func TestQueue_jobsThatArriveDuringABatchAreTheNextOne(t *testing.T) {
	t.Parallel()
	each := func(job int) int { return job }
	for name, test := range map[string]struct {
		size   int
		weight func(int) int
		jobs   []int
		want   [][]int
	}{
		"all of it where it fits":         {10, nil, []int{1, 2, 3}, [][]int{{1, 2, 3}}},
		"up to the batch size":            {2, nil, []int{1, 2, 3, 4, 5}, [][]int{{1, 2}, {3, 4}, {5}}},
		"one by one where the size is 1":  {1, nil, []int{1, 2}, [][]int{{1}, {2}}},
		"up to the batch size in weight":  {10, each, []int{4, 6, 1}, [][]int{{4, 6}, {1}}},
		"what overflows begins the next":  {10, each, []int{4, 7, 3, 2}, [][]int{{4}, {7, 3}, {2}}},
		"and a lighter one does not pass": {10, each, []int{9, 5, 1, 4}, [][]int{{9}, {5, 1, 4}}},
		"the heavy one by itself":         {10, each, []int{1, 50, 2, 3}, [][]int{{1}, {50}, {2, 3}}},
		"the heavy one first":             {10, each, []int{math.MaxInt, math.MaxInt, 2}, [][]int{{math.MaxInt}, {math.MaxInt}, {2}}},
		"and not beside a light one":      {10, each, []int{2, math.MaxInt, 3}, [][]int{{2}, {math.MaxInt}, {3}}},
		"what weighs nothing weighs 1":    {2, each, []int{0, -5, 1}, [][]int{{0, -5}, {1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q, gate := newGated(t, queue.Config[int, int]{
					Capacity: 100, BatchSize: test.size, Weight: test.weight,
				})
				gate.occupy(t, q)
				callers := doEach(q, test.jobs...)
				gate.open()
				callers.wantAnswers(t, test.jobs...)
				if diff := cmp.Diff(test.want, gate.done()); diff != "" {
					t.Errorf("batches (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestQueue_jobThatDidNotFitStillWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		q, gate := newGated(t, queue.Config[int, int]{
			Capacity: 2, BatchSize: 10,
			Weight: func(job int) int { return job },
			Work: func(ctx context.Context, jobs []int, answers []queue.Answer[int]) error {
				if jobs[0] == 6 {
					<-release
				}
				return echo(ctx, jobs, answers)
			},
		})
		gate.occupy(t, q)
		first := doEach(q, 6)
		ctx, leave := context.WithCancel(t.Context())
		second := startEach(ctx, q.Do, 7)
		gate.open()
		synctest.Wait()
		if got := q.Depth(); got != 1 {
			t.Errorf("depth with one job held: got %d, want 1", got)
		}
		leave()
		second.wantErrors(t, queue.ErrNotStarted)
		close(release)
		first.wantAnswers(t, 6)
		synctest.Wait()
		if diff := cmp.Diff([][]int{{6}}, gate.done()); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		if got := q.Depth(); got != 0 {
			t.Errorf("depth in the end: got %d, want 0", got)
		}
	})
}

// On one processor it shows: the runtime would start the worker right after the first caller.
func TestQueue_callersAboutToSubmitJoinTheBatch(t *testing.T) { //nolint:paralleltest // sets GOMAXPROCS
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const rounds, callers = 100, 20
	var batches atomic.Int64
	q := queue.New(queue.Config[int, int]{
		Name: "test", Shards: 1, Capacity: callers, BatchSize: callers,
		Work: func(context.Context, []int, []queue.Answer[int]) error {
			batches.Add(1) // no time at all, so nothing gathers meanwhile
			return nil
		},
	})
	defer closeNow(t, q)
	for range rounds {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				if _, err := q.Do(t.Context(), "key", 1); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	// A few more than the rounds: the runtime may interrupt any of them.
	if got := batches.Load(); got > rounds*3/2 {
		t.Errorf("got %d batches for %d rounds of %d callers, want about one a round", got, rounds, callers)
	}
}

func TestQueue_errorOfTheBatch(t *testing.T) {
	t.Parallel()
	isOneJobs := func(err error) bool { return errors.Is(err, errOneJobs) }
	for name, test := range map[string]struct {
		isolate func(error) bool
		jobs    []int // the job 13 fails the batch that it is in
		err     error
		want    []error
		batches [][]int
	}{
		"goes to its only job without a repeat": {
			isOneJobs, []int{13}, errOneJobs, []error{errOneJobs}, [][]int{{13}},
		},
		"goes to one job alone where it is that job's fault": {
			isOneJobs, []int{1, 13, 2}, errOneJobs,
			[]error{nil, errOneJobs, nil}, [][]int{{1, 13, 2}, {1}, {13}, {2}},
		},
		"goes to every job where it is not": {
			isOneJobs, []int{1, 13, 2}, errAll, []error{errAll, errAll, errAll}, [][]int{{1, 13, 2}},
		},
		"goes to every job where nothing tells": {
			nil, []int{1, 13}, errOneJobs, []error{errOneJobs, errOneJobs}, [][]int{{1, 13}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q, gate := newGated(t, queue.Config[int, int]{
					Capacity: 10, BatchSize: 10, RetryOneByOne: test.isolate,
					Work: func(_ context.Context, jobs []int, answers []queue.Answer[int]) error {
						for i, job := range jobs {
							if job == 13 {
								return test.err
							}
							answers[i].Value = job
						}
						return nil
					},
				})
				gate.occupy(t, q)
				callers := doEach(q, test.jobs...)
				gate.open()
				callers.wantErrors(t, test.want...)
				if diff := cmp.Diff(test.batches, gate.done()); diff != "" {
					t.Errorf("batches (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestQueue_answersOfAFailedBatchAreDiscarded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, gate := newGated(t, queue.Config[int, int]{
			Capacity: 10, BatchSize: 10,
			RetryOneByOne: func(error) bool { return true },
			Work: func(_ context.Context, jobs []int, answers []queue.Answer[int]) error {
				if len(jobs) == 1 {
					return nil // leaves its answer alone
				}
				for i := range answers {
					answers[i] = queue.Answer[int]{Value: 99, Err: errAll}
				}
				return errOneJobs
			},
		})
		gate.occupy(t, q)
		callers := doEach(q, 1, 2)
		gate.open()
		callers.wantAnswers(t, 0, 0)
	})
}

func TestQueue_unsetAnswerIsZero(t *testing.T) {
	t.Parallel()
	q, _ := newGated(t, queue.Config[int, int]{
		Work: func(_ context.Context, jobs []int, answers []queue.Answer[int]) error {
			if jobs[0] == 1 {
				answers[0] = queue.Answer[int]{Value: 99, Err: errAll}
			}
			return nil
		},
	})
	if _, err := q.Do(t.Context(), "key", 1); !errors.Is(err, errAll) {
		t.Errorf("got %v, want %v", err, errAll)
	}
	if got, err := q.Do(t.Context(), "key", 2); got != 0 || err != nil {
		t.Errorf("got %d, %v, want 0", got, err)
	}
}

func TestQueue_appendInWorkDoesNotReachTheNextJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, gate := newGated(t, queue.Config[int, int]{
			Capacity: 10, BatchSize: 10,
			RetryOneByOne: func(error) bool { return true },
			Work: func(ctx context.Context, jobs []int, answers []queue.Answer[int]) error {
				if len(jobs) > 1 {
					return errOneJobs
				}
				_ = append(jobs, 99)
				return echo(ctx, jobs, answers)
			},
		})
		gate.occupy(t, q)
		callers := doEach(q, 1, 2, 3)
		gate.open()
		callers.wantAnswers(t, 1, 2, 3)
	})
}

func TestQueue_panicFailsItsBatchAlone(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(){
		"panic":         func() { panic("worker's panic") },
		"runtime error": func() { var nothing any; _ = nothing.(int) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				q, gate := newGated(t, queue.Config[int, int]{
					Capacity: 10, BatchSize: 3,
					RetryOneByOne: func(error) bool { return true },
					Log:           slog.New(slog.NewJSONHandler(&log, nil)),
					Work: func(ctx context.Context, jobs []int, answers []queue.Answer[int]) error {
						if jobs[len(jobs)-1] == 13 {
							fail()
						}
						return echo(ctx, jobs, answers)
					},
				})
				gate.occupy(t, q)
				bad := doEach(q, 1, 2, 13)
				good := doEach(q, 4)
				gate.open()
				bad.wantErrors(t, queue.ErrPanicked, queue.ErrPanicked, queue.ErrPanicked)
				good.wantAnswers(t, 4)
				if diff := cmp.Diff([][]int{{1, 2, 13}, {4}}, gate.done()); diff != "" {
					t.Errorf("batches (-want +got):\n%s", diff)
				}
				for _, want := range []string{`"ERROR"`, `"queue":"test"`, `"jobs":3`, "batch_test.go"} {
					if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
						t.Errorf("got log %s, want one line with %s", got, want)
					}
				}
			})
		})
	}
}

func TestQueue_panicInARetryFailsItsJobAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, gate := newGated(t, queue.Config[int, int]{
			Capacity: 10, BatchSize: 10,
			RetryOneByOne: func(error) bool { return true },
			Work: func(ctx context.Context, jobs []int, answers []queue.Answer[int]) error {
				switch {
				case len(jobs) > 1:
					return errOneJobs
				case jobs[0] == 13:
					panic("worker's panic")
				}
				return echo(ctx, jobs, answers)
			},
		})
		gate.occupy(t, q)
		callers := doEach(q, 1, 13, 2)
		gate.open()
		callers.wantErrors(t, nil, queue.ErrPanicked, nil)
	})
}

func TestQueue_idleWorkerKeepsNoJobAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type big struct{ _ [1 << 16]byte }
		q := queue.New(queue.Config[*big, *big]{
			Name: "test", Shards: 1, Capacity: 10, BatchSize: 10,
			Work: func(_ context.Context, jobs []*big, answers []queue.Answer[*big]) error {
				for i := range jobs {
					answers[i].Value = new(big)
				}
				return nil
			},
		})
		defer closeNow(t, q)
		do := func() (weak.Pointer[big], weak.Pointer[big]) {
			job := new(big)
			answer, err := q.Do(t.Context(), "key", job)
			if err != nil {
				t.Error(err)
			}
			return weak.Make(job), weak.Make(answer)
		}
		job, answer := do()
		synctest.Wait()
		runtime.GC()
		if job.Value() != nil {
			t.Error("the job is still reachable")
		}
		if answer.Value() != nil {
			t.Error("the answer is still reachable")
		}
	})
}

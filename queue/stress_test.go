package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"cartwheel/queue"
)

// ticket is a job of the stress test: the n-th of its key.
type ticket struct {
	key int
	n   int
}

func (t ticket) panics() bool { return t.n%89 == 11 }
func (t ticket) bad() bool    { return t.n%37 == 5 }
func (t ticket) weight() int  { return t.n % 5 }

// ledger is what Work saw, kept apart from what the callers were told.
type ledger struct {
	mu     sync.Mutex
	begun  map[ticket]int // Work calls that had the ticket
	done   map[ticket]int // of these, the ones that took effect
	latest map[int]int    // by key: the last n done
	errs   []error
}

// work takes effect for the whole batch or not at all, as a transaction does.
func (l *ledger) work(_ context.Context, jobs []ticket, answers []queue.Answer[ticket]) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, job := range jobs {
		l.begun[job]++
	}
	for _, job := range jobs {
		if job.panics() {
			panic(fmt.Sprint("stress: ", job))
		}
		if job.bad() {
			return errOneJobs
		}
	}
	for i, job := range jobs {
		if latest, ok := l.latest[job.key]; ok && latest >= job.n {
			l.errs = append(l.errs, fmt.Errorf("%v done after n = %d of its key", job, latest))
		}
		l.latest[job.key] = job.n
		l.done[job]++
		answers[i].Value = job
		if i%16 == 0 {
			runtime.Gosched() // let callers leave in the middle of it
		}
	}
	return nil
}

// check compares what one caller was told with what was done.
func (l *ledger) check(job, got ticket, err error) error {
	begun, done := l.begun[job], l.done[job]
	switch {
	case err == nil:
		if got != job || done != 1 || begun > 2 {
			return fmt.Errorf("%v answered %v: begun %d, done %d, want its own answer, done once",
				job, got, begun, done)
		}
	case errors.Is(err, queue.ErrFull), errors.Is(err, queue.ErrClosed), errors.Is(err, queue.ErrNotStarted):
		if begun != 0 {
			return fmt.Errorf("%v answered %w: begun %d times, want never", job, err, begun)
		}
	case errors.Is(err, queue.ErrUnanswered):
		if begun == 0 || done > 1 {
			return fmt.Errorf("%v answered %w: begun %d, done %d, want begun, done at most once", job, err, begun, done)
		}
	case errors.Is(err, queue.ErrPanicked), errors.Is(err, errOneJobs) && job.bad():
		if begun == 0 || done != 0 {
			return fmt.Errorf("%v answered %w: begun %d, done %d, want begun and not done", job, err, begun, done)
		}
	default:
		return fmt.Errorf("%v answered %w, which is none of its errors", job, err)
	}
	return nil
}

func TestQueue_everyJobIsAnsweredOrNotRun(t *testing.T) {
	t.Parallel()
	for name, patience := range map[string]time.Duration{
		"when Close drains":         time.Hour,
		"when Close is out of time": 0,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stress(t, patience)
		})
	}
}

func stress(t *testing.T, patience time.Duration) {
	t.Helper()
	const (
		producers = 64  // one key each, so that its order is known
		jobs      = 400 // for each key
		closing   = 300 // Close comes when the first producer has handed in so many
		tightest  = time.Microsecond
		longest   = 300 * time.Microsecond
	)
	l := &ledger{begun: map[ticket]int{}, done: map[ticket]int{}, latest: map[int]int{}}
	q := queue.New(queue.Config[ticket, ticket]{
		Name: "stress", Shards: 4, Capacity: 48, BatchSize: 32,
		Weight:        ticket.weight,
		Work:          l.work,
		RetryOneByOne: func(err error) bool { return errors.Is(err, errOneJobs) },
		Observe: queue.Observer{Refused: func(error) {}, BatchDone: func(b queue.BatchStats) {
			if b.Jobs < 1 || b.Jobs > 32 || b.Waited < 0 {
				t.Errorf("batch out of its limits: %+v", b)
			}
		}},
	})

	type told struct {
		job, got ticket
		err      error
	}
	var mu sync.Mutex
	var answers []told
	var producing, closed sync.WaitGroup
	for key := range producers {
		producing.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(key)))
			for n := range jobs {
				if key == 0 && n == closing {
					closed.Go(func() {
						ctx, cancel := context.WithTimeout(context.Background(), patience)
						defer cancel()
						err := q.Close(ctx)
						if err != nil && (patience > 0 || !errors.Is(err, context.DeadlineExceeded)) {
							t.Errorf("Close: %v", err)
						}
					})
				}
				ctx, cancel := context.Background(), context.CancelFunc(func() {})
				if random.IntN(3) == 0 {
					ctx, cancel = context.WithTimeout(ctx, tightest+time.Duration(random.Int64N(int64(longest))))
				}
				do := q.Do
				if random.IntN(2) == 0 {
					do = q.DoToEnd
				}
				job := ticket{key, n}
				got, err := do(ctx, fmt.Sprint(key), job)
				cancel()
				if depth := q.Depth(); depth < 0 || depth > q.Capacity() {
					t.Errorf("depth: got %d, want 0 to %d", depth, q.Capacity())
				}
				mu.Lock()
				answers = append(answers, told{job, got, err})
				mu.Unlock()
			}
		})
	}
	producing.Wait()
	closed.Wait()
	closeNow(t, q)

	for _, a := range answers {
		if err := l.check(a.job, a.got, a.err); err != nil {
			t.Error(err)
		}
	}
	for _, err := range l.errs {
		t.Error(err)
	}
	if got, want := len(answers), producers*jobs; got != want {
		t.Errorf("callers answered: got %d, want %d", got, want)
	}
	if got := q.Depth(); got != 0 {
		t.Errorf("depth in the end: got %d, want 0", got)
	}
	counts := map[string]int{}
	for _, a := range answers {
		counts[kind(a.err)]++
	}
	t.Log(counts)
}

// kind names what a caller was told.
func kind(err error) string {
	for _, known := range []error{
		queue.ErrFull, queue.ErrClosed, queue.ErrNotStarted, queue.ErrUnanswered, queue.ErrPanicked, errOneJobs,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "answered"
}

package queue_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"cartwheel/queue"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// occupying is the job that keeps a gated worker busy until its gate opens.
const occupying = -1

// gate holds up a queue's worker, so that jobs gather behind it, and remembers the batches done.
type gate struct {
	entered chan struct{} // one for each occupying job begun
	opened  chan struct{}
	once    sync.Once

	mu      sync.Mutex
	batches [][]int // each Work call's jobs
}

// newGated starts a queue of one shard whose Work answers each job with itself, unless config has a
// Work of its own to run behind the gate. It is closed with the test.
func newGated(tb testing.TB, config queue.Config[int, int]) (*queue.Queue[int, int], *gate) {
	tb.Helper()
	g := &gate{entered: make(chan struct{}, 1), opened: make(chan struct{})}
	work := config.Work
	if work == nil {
		work = echo
	}
	config.Name = "test"
	config.Shards = max(1, config.Shards)
	config.Capacity = max(1, config.Capacity)
	config.BatchSize = max(1, config.BatchSize)
	config.Work = func(ctx context.Context, jobs []int, answers []queue.Answer[int]) error {
		g.mu.Lock()
		g.batches = append(g.batches, append([]int(nil), jobs...))
		g.mu.Unlock()
		if jobs[0] == occupying {
			g.entered <- struct{}{}
			<-g.opened
		}
		return work(ctx, jobs, answers)
	}
	q := queue.New(config)
	tb.Cleanup(func() {
		g.open()
		closeNow(tb, q)
	})
	return q, g
}

// occupy returns once the worker is held up.
func (g *gate) occupy(tb testing.TB, q *queue.Queue[int, int]) {
	tb.Helper()
	go func() {
		if _, err := q.Do(context.Background(), "key", occupying); err != nil {
			tb.Errorf("the occupying job: %v", err)
		}
	}()
	<-g.entered
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// done lists the Work calls so far, the occupying one left out.
func (g *gate) done() [][]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	var done [][]int
	for _, batch := range g.batches {
		if batch[0] != occupying {
			done = append(done, batch)
		}
	}
	return done
}

func echo(_ context.Context, jobs []int, answers []queue.Answer[int]) error {
	for i, job := range jobs {
		answers[i].Value = job
	}
	return nil
}

// started are callers that wait in a queue, in the order of their jobs.
type started []chan queue.Answer[int]

// doEach starts one caller a job, all with one key, and returns when the last one waits. Only in a
// synctest bubble.
func doEach(q *queue.Queue[int, int], jobs ...int) started {
	return startEach(context.Background(), q.Do, jobs...)
}

func startEach(
	ctx context.Context, do func(context.Context, string, int) (int, error), jobs ...int,
) started {
	s := make(started, 0, len(jobs))
	for _, job := range jobs {
		answer := make(chan queue.Answer[int], 1)
		go func() {
			value, err := do(ctx, "key", job)
			answer <- queue.Answer[int]{Value: value, Err: err}
		}()
		synctest.Wait()
		s = append(s, answer)
	}
	return s
}

// wantAnswers waits for every caller and fails where one got an error or another answer.
func (s started) wantAnswers(t *testing.T, want ...int) {
	t.Helper()
	for i, answer := range s {
		if got := <-answer; got.Value != want[i] || got.Err != nil {
			t.Errorf("caller %d: got %d, %v, want %d", i, got.Value, got.Err, want[i])
		}
	}
}

// wantErrors waits for every caller and fails where one got another error; nil is for an answer.
func (s started) wantErrors(t *testing.T, want ...error) {
	t.Helper()
	for i, answer := range s {
		if got := <-answer; !errors.Is(got.Err, want[i]) {
			t.Errorf("caller %d: got %d, %v, want %v", i, got.Value, got.Err, want[i])
		}
	}
}

// closeNow drains a queue.
func closeNow[J, R any](tb testing.TB, q *queue.Queue[J, R]) {
	tb.Helper()
	if err := q.Close(context.Background()); err != nil {
		tb.Errorf("Close: %v", err)
	}
}

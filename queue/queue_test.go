package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/queue"
)

func TestQueue_jobGetsItsAnswer(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	q := queue.New(queue.Config[int, string]{
		Name: "test", Shards: 2, Capacity: 10, BatchSize: 10,
		Work: func(_ context.Context, jobs []int, answers []queue.Answer[string]) error {
			for i, job := range jobs {
				answers[i] = queue.Answer[string]{Value: strconv.Itoa(job), Err: broken}
			}
			return nil
		},
	})
	defer closeNow(t, q)

	for _, do := range []func(context.Context, string, int) (string, error){q.Do, q.DoToEnd} {
		got, err := do(t.Context(), "key", 7)
		if got != "7" || !errors.Is(err, broken) {
			t.Errorf("got %q, %v, want \"7\", broken", got, err)
		}
	}
}

func TestQueue_fullRefusesUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var refused []error
		q, gate := newGated(t, queue.Config[int, int]{
			Shards: 3, Capacity: 2, BatchSize: 10,
			Observe: queue.Observer{Refused: func(err error) { refused = append(refused, err) }},
		})
		gate.occupy(t, q)
		if got := q.Depth(); got != 0 {
			t.Errorf("depth with one job under way and none waiting: got %d, want 0", got)
		}
		started := doEach(q, 1, 2) // one key: one shard holds all that the queue admits
		if q.Depth() != 2 || !q.Full() {
			t.Errorf("got depth %d, full %t, want 2, true", q.Depth(), q.Full())
		}

		// Another key, and so perhaps another shard, which is idle: the limit is the queue's.
		for _, key := range []string{"key", "a", "b", "c", "d"} {
			if _, err := q.Do(t.Context(), key, 3); !errors.Is(err, queue.ErrFull) {
				t.Errorf("key %s: got %v, want ErrFull", key, err)
			}
		}
		if len(refused) != 5 || !errors.Is(refused[0], queue.ErrFull) {
			t.Errorf("observed refusals: got %v, want five times ErrFull", refused)
		}

		gate.open()
		started.wantAnswers(t, 1, 2)
		if q.Depth() != 0 || q.Full() {
			t.Errorf("got depth %d, full %t, want 0, false", q.Depth(), q.Full())
		}
		if _, err := q.Do(t.Context(), "key", 4); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
}

func TestQueue_jobsOfOneKeyKeepTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const jobs = 100
		q, gate := newGated(t, queue.Config[int, int]{Shards: 4, Capacity: jobs, BatchSize: 7})
		gate.occupy(t, q)
		want := make([]int, jobs)
		for i := range want {
			want[i] = i
		}
		started := doEach(q, want...)
		gate.open()
		started.wantAnswers(t, want...)

		var got []int
		for _, batch := range gate.done() {
			got = append(got, batch...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestQueue_busyShardDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	q, gate := newGated(t, queue.Config[int, int]{Shards: 2, Capacity: 100, BatchSize: 10})
	gate.occupy(t, q)
	// Fifty keys on two shards: some are on the idle one. Those on the busy one leave when the
	// first is answered.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := make(chan error, 50)
	var callers sync.WaitGroup
	for i := range 50 {
		callers.Go(func() {
			_, err := q.Do(ctx, fmt.Sprint("key ", i), i)
			first <- err
		})
	}
	if err := <-first; err != nil {
		t.Errorf("while another shard is busy: %v", err)
	}
	cancel()
	callers.Wait()
}

func TestQueue_errorsNameTheQueue(t *testing.T) {
	t.Parallel()
	q, _ := newGated(t, queue.Config[int, int]{})
	closeNow(t, q)
	_, err := q.Do(t.Context(), "key", 1)
	if got, want := fmt.Sprint(err), "test: queue is closed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestQueue_hasNameAndCapacity(t *testing.T) {
	t.Parallel()
	q, _ := newGated(t, queue.Config[int, int]{Capacity: 12})
	if q.Name() != "test" || q.Capacity() != 12 {
		t.Errorf("got %s, %d, want test, 12", q.Name(), q.Capacity())
	}
}

func TestObserver_seesEachBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []queue.BatchStats
		q, gate := newGated(t, queue.Config[int, int]{
			Capacity: 10, BatchSize: 100,
			Work: func(ctx context.Context, jobs []int, answers []queue.Answer[int]) error {
				time.Sleep(3 * time.Second)
				return echo(ctx, jobs, answers)
			},
			Observe: queue.Observer{BatchDone: func(b queue.BatchStats) { got = append(got, b) }},
		})
		gate.occupy(t, q)
		first := doEach(q, 10)
		time.Sleep(4 * time.Second)
		second := doEach(q, 20)
		time.Sleep(1 * time.Second)
		gate.open()
		first.wantAnswers(t, 10)
		second.wantAnswers(t, 20)
		synctest.Wait()

		want := []queue.BatchStats{
			{Jobs: 1, Waited: 0, Took: 8 * time.Second},
			{Jobs: 2, Waited: 8 * time.Second, Took: 3 * time.Second},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	})
}

func TestQueue_doAllocatesTheCallAlone(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts the whole process
	q := queue.New(queue.Config[int, int]{Name: "test", Shards: 2, Capacity: 10, BatchSize: 10, Work: echo})
	defer closeNow(t, q)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := testing.AllocsPerRun(1000, func() {
		if _, err := q.Do(ctx, "key", 1); err != nil {
			t.Fatal(err)
		}
	})
	if got > 3 {
		t.Errorf("got %v allocations a job, want 3: the call, its channel and the channel's buffer", got)
	}
}

package checkout_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"time"

	"cartwheel/checkout"
	"cartwheel/queue"
)

// A stall stops the workers of a queue at one point of their transaction, so that jobs gather
// behind them.
type stall struct {
	entered chan int // for each worker stopped, how many jobs it has
	opened  chan struct{}
	once    sync.Once
}

func newStall() *stall { return &stall{entered: make(chan int, 1<<10), opened: make(chan struct{})} }

func (st *stall) pass(jobs int) {
	st.entered <- jobs
	<-st.opened
}

func (st *stall) open() { st.once.Do(func() { close(st.opened) }) }

// The queues, in the order of Manager.Queues.
const (
	reserves = iota
	settles
)

func (in *instance) depth(queue int) int { return in.Queues()[queue].Depth() }

// occupy begins checkouts of decoys, prepared by s.decoys, until each worker is stopped in st. It
// returns them, and how many of them wait in the queue.
func (st *stall) occupy(in *instance, queue int) (calls []*call, waiting int) {
	in.s.t.Helper()
	in.s.t.Cleanup(st.open)
	stopped, taken := 0, 0
	for stopped < checkout.Workers {
		if len(calls) == decoys {
			in.s.t.Fatal("the decoys do not reach every worker")
		}
		calls = append(calls, in.begin(fmt.Sprintf("decoy-%02d", len(calls))))
		eventually(in.s.t, "a decoy is taken, or waits", func() bool {
			for len(st.entered) > 0 {
				stopped, taken = stopped+1, taken+<-st.entered
			}
			// The first is on its way to a worker that nothing stops, be it in the queue for a
			// moment.
			return stopped > 0 && taken+in.depth(queue) == len(calls)
		})
	}
	return calls, len(calls) - taken
}

// decoys is how many decoys there are: enough to reach each of two workers, all but surely.
const decoys = 40

// decoys fills the decoys' carts.
func (s *shop) decoys() {
	s.t.Helper()
	s.stock("decoy", decoys)
	for i := range decoys {
		s.add(fmt.Sprintf("decoy-%02d", i), "decoy", 1)
	}
}

// allSold waits for calls, all of which must be sales.
func allSold(t tester, calls []*call) {
	t.Helper()
	for _, c := range calls {
		if err := c.end(); err != nil {
			t.Errorf("answered %v, want a sale", err)
		}
	}
}

// batches collects what a queue's observer is told.
type batches chan queue.BatchStats

func (b batches) observer() queue.Observer {
	return queue.Observer{BatchDone: func(done queue.BatchStats) { b <- done }}
}

// await waits for one batch.
func (b batches) await(t tester) queue.BatchStats {
	t.Helper()
	select {
	case done := <-b:
		return done
	case <-time.After(patience):
		t.Fatal("no batch was done")
		return queue.BatchStats{}
	}
}

// together waits until all jobs are done, and checks that so many of them, which had gathered, were
// done in one batch a worker.
func (b batches) together(t tester, workers, gathered, all int) {
	t.Helper()
	var sizes []int
	for all > 0 {
		size := b.await(t).Jobs
		sizes, all = append(sizes, size), all-size
	}
	slices.SortFunc(sizes, func(a, b int) int { return b - a })
	sum := 0
	for _, size := range sizes[:workers] {
		sum += size
	}
	if sum < gathered {
		t.Errorf("%d jobs had gathered, and were done in batches of %v: want one a worker", gathered, sizes)
	}
}

// lockRows locks the rows that a SELECT finds as another program would, until unlock is called or
// the test ends. MySQL only.
func (s *shop) lockRows(t tester, query string, args ...any) (unlock func()) {
	t.Helper()
	found, unlock := s.lockAt(t, sql.LevelDefault, query, args...)
	if found == 0 {
		t.Fatalf("there is nothing to lock: %s", query)
	}
	return unlock
}

func (s *shop) lockAt(t tester, level sql.IsolationLevel, query string, args ...any) (found int, unlock func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tx, err := s.db.Setup().BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	unlock = func() {
		_ = tx.Rollback() // it may be over
		cancel()
	}
	t.Cleanup(unlock)
	rows, err := tx.QueryContext(ctx, query+" FOR UPDATE", args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}()
	for rows.Next() {
		found++
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("lock rows: %v", err)
	}
	return found, unlock
}

// crash opens an instance that has charged nobody yet when it dies: its checkouts of the clients
// are reserved, and nothing ever ends them. It is not started, and hears of nothing.
func (s *shop) crash(set settings, clients ...string) *instance {
	s.t.Helper()
	set.idle = true
	in := s.open(set)
	held := in.till.hold()
	for _, client := range clients {
		in.begin(client)
	}
	held.await(s.t, len(clients))
	return in
}

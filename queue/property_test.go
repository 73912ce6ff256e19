package queue_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cartwheel/queue"
)

// The whole of gathering, against a model of a few lines: whoever stays is done in order, in the
// fewest batches that the order and the batch size allow.
func TestQueue_gatheringKeepsOrderAndFillsBatches(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		size := rapid.IntRange(1, 12).Draw(r, "batch size")
		weights := rapid.SliceOfN(rapid.IntRange(0, 15), 1, 40).Draw(r, "weights")
		leavers := rapid.SliceOfN(rapid.Bool(), len(weights), len(weights)).Draw(r, "leavers")

		var got [][]int
		synctest.Test(t, func(t *testing.T) {
			got = gathered(t, size, weights, leavers)
		})
		if diff := cmp.Diff(model(size, weights, leavers), got); diff != "" {
			r.Fatalf("batches (-want +got):\n%s", diff)
		}
	})
}

// model says which batches the jobs 0, 1, 2 ... make.
func model(size int, weights []int, leavers []bool) [][]int {
	var batches [][]int
	room := 0
	for job, weight := range weights {
		weight = max(1, weight)
		switch {
		case leavers[job]:
			continue
		case weight > room:
			batches = append(batches, nil)
			room = size
		}
		room -= weight
		batches[len(batches)-1] = append(batches[len(batches)-1], job)
	}
	return batches
}

// gathered says which batches a queue makes of them.
func gathered(t *testing.T, size int, weights []int, leavers []bool) [][]int {
	t.Helper()
	q, gate := newGated(t, queue.Config[int, int]{
		Capacity: len(weights), BatchSize: size,
		Weight: func(job int) int {
			if job == occupying {
				return 1
			}
			return weights[job]
		},
	})
	gate.occupy(t, q)
	leaving, leave := context.WithCancel(t.Context())
	var stayed, left started
	var staying []int
	for job := range weights {
		if leavers[job] {
			left = append(left, startEach(leaving, q.Do, job)...)
			continue
		}
		stayed = append(stayed, doEach(q, job)...)
		staying = append(staying, job)
	}
	leave()
	for i := range left {
		left[i:i+1].wantErrors(t, queue.ErrNotStarted)
	}
	gate.open()
	stayed.wantAnswers(t, staying...)
	closeNow(t, q)
	return gate.done()
}

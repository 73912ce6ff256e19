package queue_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"cartwheel/queue"
)

// BenchmarkDo is what the queue itself costs: Work does nothing.
func BenchmarkDo(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			benchmarkDo(b, callers, func() {}, func(int) {})
		})
	}
}

// BenchmarkDoSaturated has no processor to spare: each caller works 30 µs between its jobs, as one
// that speaks HTTP does, and each batch takes 60 µs and 3 µs a job.
func BenchmarkDoSaturated(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			benchmarkDo(b, callers,
				func() { spin(30 * time.Microsecond) },
				func(jobs int) { spin(60*time.Microsecond + time.Duration(jobs)*3*time.Microsecond) })
		})
	}
}

func spin(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}

func benchmarkDo(b *testing.B, callers int, think func(), work func(jobs int)) {
	b.Helper()
	var batches atomic.Int64
	q := queue.New(queue.Config[int, int]{
		Name: "bench", Shards: 1, Capacity: 4096, BatchSize: 256,
		Work: func(_ context.Context, jobs []int, answers []queue.Answer[int]) error {
			batches.Add(1)
			work(len(jobs))
			for i, job := range jobs {
				answers[i].Value = job
			}
			return nil
		},
	})
	defer closeNow(b, q)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()

	b.ReportAllocs()
	if callers == 1 {
		for b.Loop() {
			think()
			if _, err := q.Do(ctx, "key", 1); err != nil {
				b.Fatal(err)
			}
		}
	} else {
		b.SetParallelism((callers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
		var next atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			key := strconv.FormatInt(next.Add(1), 10)
			for pb.Next() {
				think()
				if _, err := q.Do(ctx, key, 1); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ReportMetric(float64(b.N)/float64(max(1, batches.Load())), "jobs/batch")
}

// BenchmarkRefusal is what a full queue costs the callers that it turns away.
func BenchmarkRefusal(b *testing.B) {
	q, gate := newGated(b, queue.Config[int, int]{Capacity: 1})
	gate.occupy(b, q)
	defer gate.open()
	go func() { _, _ = q.Do(context.Background(), "key", 2) }()
	for !q.Full() {
		runtime.Gosched()
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := q.Do(context.Background(), "key", 3); err == nil {
			b.Fatal("a full queue accepted a job")
		}
	}
}

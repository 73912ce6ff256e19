package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"cartwheel/queue"
)

const (
	refusedFull   = "full"
	refusedClosed = "closed"
)

// queues measures the queues' batches and refusals. How full they are is read at a scrape: see
// levels.
type queues struct {
	wait, work, jobs *prometheus.HistogramVec
	refused          *prometheus.CounterVec
}

func newQueues() *queues {
	byQueue := []string{"queue"}
	return &queues{
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "queue", Name: "wait_seconds", Buckets: prometheus.ExponentialBuckets(.0001, 2.5, 12),
			Help: "How long the job of a batch that waited longest waited until the batch began.",
		}, byQueue),
		work: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "queue", Name: "batch_duration_seconds", Buckets: prometheus.ExponentialBuckets(.0001, 2.5, 12),
			Help: "How long a batch took, what was run again job by job included.",
		}, byQueue),
		jobs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "queue", Name: "batch_jobs", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
			Help: "How many jobs a batch had.",
		}, byQueue),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: "queue", Name: "refused_jobs_total",
			Help: "Jobs that were not accepted, because the queue was full or closed.",
		}, []string{"queue", "reason"}),
	}
}

func (q *queues) all() []prometheus.Collector {
	return []prometheus.Collector{q.wait, q.work, q.jobs, q.refused}
}

// Queue returns what a queue of this name reports to. It is asked for before the requests come.
func (m *Metrics) Queue(name string) queue.Observer {
	wait, work, jobs := m.queues.wait.WithLabelValues(name), m.queues.work.WithLabelValues(name), m.queues.jobs.WithLabelValues(name)
	full, closed := m.queues.refused.WithLabelValues(name, refusedFull), m.queues.refused.WithLabelValues(name, refusedClosed)
	return queue.Observer{
		Refused: func(err error) {
			if errors.Is(err, queue.ErrFull) {
				full.Inc()
			} else {
				closed.Inc()
			}
		},
		Batch: func(b queue.Batch) {
			wait.Observe(b.Waited.Seconds())
			work.Observe(b.Took.Seconds())
			jobs.Observe(float64(b.Jobs))
		},
	}
}

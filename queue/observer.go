package queue

import "time"

// Observer is a set of hooks for metrics, each of which may be nil. They must be quick and safe for
// concurrent use, and must not panic.
type Observer struct {
	// Refused: a job was not accepted. err is ErrFull or ErrClosed, wrapped.
	Refused func(err error)

	// BatchDone: a batch is done and its jobs are answered.
	BatchDone func(BatchStats)
}

// BatchStats describes one batch.
type BatchStats struct {
	Jobs   int
	Waited time.Duration // of the job that waited longest, until the batch began
	Took   time.Duration // in Work, including retries one by one
}

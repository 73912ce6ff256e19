package queue

import "time"

// Observer is told what a queue does, for metrics. A hook that is nil costs nothing, not even a look
// at the clock. Hooks must be quick and safe to call at once from many goroutines, and must not panic.
type Observer struct {
	// Refused: a job was not accepted. err is ErrFull or ErrClosed, wrapped.
	Refused func(err error)

	// Batch: a batch is done and its jobs are answered.
	Batch func(Batch)
}

// Batch is the measure of one batch.
type Batch struct {
	Jobs   int
	Weight int
	Waited time.Duration // of the job that waited longest, until the batch began
	Took   time.Duration // in Work, repeats job by job included
}

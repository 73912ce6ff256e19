package queue

import "errors"

// Errors of Do and DoToEnd beside those of Work. Each is wrapped with the queue's name.
var (
	// ErrFull: Capacity jobs wait already. The job was not accepted.
	ErrFull = errors.New("queue is full")

	// ErrClosed: the queue is closing. The job was not run and never will be.
	ErrClosed = errors.New("queue is closed")

	// ErrNotStarted: the caller's context ended before a worker dequeued the job, which is never
	// run.
	ErrNotStarted = errors.New("caller left before the job was started")

	// ErrUnanswered: the caller's context ended while the job was under way. Its outcome is
	// unknown.
	ErrUnanswered = errors.New("caller left before the job was answered")

	// ErrPanicked: Work panicked. The outcome is unknown; the log has the stack.
	ErrPanicked = errors.New("work panicked")
)

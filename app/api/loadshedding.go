package api

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"cartwheel/queue"
)

// admissionTimeout is the maximum time that a request waits for room in its queue. It also bounds
// how often a caller that comes back at once is refused: refusals cost processor time that the
// requests in the queue need.
const admissionTimeout = 250 * time.Millisecond

// An Admission lets requests wait while their queue is full, first come, first served.
type Admission struct {
	full    func() bool
	mu      sync.Mutex
	waiting list.List // of chan struct{}, closed when the request is admitted
}

// NewAdmission returns an Admission to a queue. full reports whether the queue would refuse.
func NewAdmission(full func() bool) *Admission { return &Admission{full: full} }

// enter waits until there is room, admissionTimeout has passed or ctx ends. It reports whether the
// request is admitted.
func (a *Admission) enter(ctx context.Context) bool {
	a.mu.Lock()
	if a.waiting.Len() == 0 && !a.full() {
		a.mu.Unlock()
		return true
	}
	admitted := make(chan struct{})
	place := a.waiting.PushBack(admitted)
	a.mu.Unlock()

	select {
	case <-admitted:
		return true
	case <-time.After(admissionTimeout):
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-admitted: // just after the timeout
		return true
	default:
	}
	a.waiting.Remove(place)
	return !a.full()
}

// leave is called when a request has its answer. It admits the one that has waited longest: one at
// a time, because its job does not count in the queue yet.
func (a *Admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if first := a.waiting.Front(); first != nil && !a.full() {
		close(a.waiting.Remove(first).(chan struct{}))
	}
}

// shedLoad refuses requests before their body is read when their queue stays full. It returns
// queue.ErrFull. A request with an Idempotency-Key passes, because its answer may be stored.
func (s *Server) shedLoad(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		admission := s.config.Admissions[r.URL.Path]
		if admission == nil {
			return next(c)
		}
		if len(r.Header[headerIdempotencyKey]) == 0 && !admission.enter(r.Context()) {
			if r.ContentLength > usualBodyBytes {
				c.Response().Header().Set(echo.HeaderConnection, "close") // the body is not read
			}
			return queue.ErrFull
		}
		defer admission.leave()
		return next(c)
	}
}

package api

import (
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"cartwheel/queue"
)

const (
	// refusalRate is the maximum number of refusals a second. Refusing costs processor time that
	// requests in the queues need: callers that come back at once wait for their next refusal.
	refusalRate = 10_000
	// maxRefusalDelay is the maximum delay of a refusal.
	maxRefusalDelay = 250 * time.Millisecond
)

// A loadLimiter sheds load: while a route's queue is full it refuses requests before their body is
// read. A request with an Idempotency-Key passes, because its answer may be stored.
type loadLimiter struct {
	full    map[string]func() bool // by path; a path without an entry has no limit
	refused atomic.Int64           // callers that wait for their refusal
}

// shedLoad refuses with queue.ErrFull, after a delay that grows with the number of callers being
// refused.
func (l *loadLimiter) shedLoad(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		full := l.full[r.URL.Path]
		if full == nil || len(r.Header[headerIdempotencyKey]) > 0 || !full() {
			return next(c)
		}
		waiting := l.refused.Add(1)
		defer l.refused.Add(-1)
		timer := time.NewTimer(min(time.Duration(waiting)*time.Second/refusalRate, maxRefusalDelay))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
		if r.ContentLength > usualBodyBytes {
			c.Response().Header().Set(echo.HeaderConnection, "close") // the body is not read
		}
		return queue.ErrFull
	}
}

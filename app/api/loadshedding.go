package api

import (
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

// shedLoad refuses requests before their body is read while their route's queue is full. It returns
// queue.ErrFull, after a delay that grows with the number of callers being refused. A request with
// an Idempotency-Key passes, because its answer may be stored.
func (s *Server) shedLoad(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		full := s.config.Full[r.URL.Path]
		if full == nil || len(r.Header[headerIdempotencyKey]) > 0 || !full() {
			return next(c)
		}
		waiting := s.refusing.Add(1)
		defer s.refusing.Add(-1)
		select {
		case <-time.After(min(time.Duration(waiting)*time.Second/refusalRate, maxRefusalDelay)):
		case <-r.Context().Done():
		}
		if r.ContentLength > usualBodyBytes {
			c.Response().Header().Set(echo.HeaderConnection, "close") // the body is not read
		}
		return queue.ErrFull
	}
}

package app

import (
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
)

// refusalLogPeriod is how often refusals are worth a line. An overloaded server that writes one for each
// spends on its log what it lacks for its work.
const refusalLogPeriod = time.Second

// faultLog writes the lines about requests that failed through no fault of their caller.
type faultLog struct {
	log     *slog.Logger
	next    atomic.Int64 // Unix nanoseconds before which no further 503 is logged
	skipped atomic.Int64 // 503s since the last line
}

// write logs a request that was answered with a 5xx: each 500 and 504, and of the 503s one a second with the
// count of those between.
func (f *faultLog) write(c echo.Context, code int, cause error) {
	r := c.Request()
	level := slog.LevelError
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs,
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", code),
		slog.String("requestID", requestID(c.Response().Header())),
		slog.String("address", r.RemoteAddr), slog.Any("error", cause))

	switch code {
	case http.StatusServiceUnavailable:
		level = slog.LevelWarn
		now := time.Now().UnixNano()
		next := f.next.Load()
		if now < next || !f.next.CompareAndSwap(next, now+int64(refusalLogPeriod)) {
			f.skipped.Add(1)
			return
		}
		if skipped := f.skipped.Swap(0); skipped > 0 {
			attrs = append(attrs, slog.Int64("refusedSinceLastLine", skipped))
		}
	case http.StatusGatewayTimeout:
		if r.Context().Err() != nil {
			level = slog.LevelDebug // the caller hung up: nobody reads the answer
		}
	}
	if p, ok := errors.AsType[*panicError](cause); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	f.log.LogAttrs(r.Context(), level, "request failed", attrs...)
}

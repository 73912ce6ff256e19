package api

import (
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
)

// refusalLogInterval is the minimum time between two log lines about 503s. Under overload a line
// for each costs more than the refusal.
const refusalLogInterval = time.Second

// failureLog logs requests that failed through no fault of their caller.
type failureLog struct {
	log     *slog.Logger
	next    atomic.Int64 // Unix nanoseconds before which no further 503 is logged
	skipped atomic.Int64 // 503s since the last line
}

// write logs a request that was answered with a 5xx: each 500 and 504, and one 503 a second with
// the number of those suppressed.
func (f *failureLog) write(c echo.Context, code int, cause error) {
	r := c.Request()
	level := slog.LevelError
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", code),
		slog.String("request_id", requestID(c.Response().Header())),
		slog.String("address", c.RealIP()), slog.Any("error", cause),
	}

	if code == http.StatusServiceUnavailable {
		level = slog.LevelWarn
		now := time.Now().UnixNano()
		next := f.next.Load()
		if now < next || !f.next.CompareAndSwap(next, now+int64(refusalLogInterval)) {
			f.skipped.Add(1)
			return
		}
		if skipped := f.skipped.Swap(0); skipped > 0 {
			attrs = append(attrs, slog.Int64("suppressed", skipped))
		}
	}
	if p, ok := errors.AsType[*panicError](cause); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	f.log.LogAttrs(r.Context(), level, "request failed", attrs...)
}

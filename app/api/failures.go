package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/labstack/echo/v4"
)

// logFailure logs a request that was answered with a 5xx, through no fault of its caller. The log
// suppresses most warnings of an overload.
func (s *Server) logFailure(c echo.Context, code int, cause error) {
	r := c.Request()
	level := slog.LevelError
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", code),
		slog.String("request_id", requestID(c.Response().Header())),
		slog.String("address", c.RealIP()), slog.Any("error", cause),
	}
	if code == http.StatusServiceUnavailable {
		level = slog.LevelWarn
	}
	if p, ok := errors.AsType[*panicError](cause); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	s.config.Log.LogAttrs(r.Context(), level, "request failed", attrs...)
}

// A panicError is a panic of a handler, made into a fault of ours like any other.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// recoverPanics turns a panic into an error, which is answered with 500. Where the answer has begun
// already, the connection is cut: the caller must not take half an answer for a whole one.
func recoverPanics(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if value := recover(); value != nil {
				err = &panicError{value, debug.Stack()}
			}
		}()
		return next(c)
	}
}

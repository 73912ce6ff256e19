package api

import (
	"fmt"
	"runtime/debug"

	"github.com/labstack/echo/v4"
)

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

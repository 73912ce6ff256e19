package api

import (
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

const (
	headerRequestID = "X-Request-Id" // as net/http spells it; names of headers have no case

	maxRequestIDBytes = 64 // what callers' tracers make is 32 to 55 long
)

// withRequestID gives every request an ID, its caller's own where that is fit to be printed. The
// answer's header has the ID from then on.
func withRequestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Request().Header[headerRequestID]
		if len(id) != 1 || !isVisible(id[0], maxRequestIDBytes) {
			id = []string{rand.Text()}
		}
		c.Response().Header()[headerRequestID] = id
		return next(c)
	}
}

func requestID(answer http.Header) string { return answer.Get(headerRequestID) }

// isVisible reports whether s is 1 to most characters of visible ASCII.
func isVisible(s string, most int) bool {
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' })
}

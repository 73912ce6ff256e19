package api

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/labstack/echo/v4"
)

const (
	headerRequestID = "X-Request-Id" // as net/http spells it; names of headers have no case

	maxRequestIDBytes = 64 // what callers' tracers make is 32 to 55 long
)

// requestIDs names requests that came without a name: a random word for the process, and a number.
type requestIDs struct {
	prefix string
	last   atomic.Uint64
}

func newRequestIDs() *requestIDs {
	return &requestIDs{prefix: strings.ToLower(rand.Text()[:8]) + "-"}
}

func (ids *requestIDs) next() string {
	var room [32]byte
	name := append(room[:0], ids.prefix...)
	return string(strconv.AppendUint(name, ids.last.Add(1), 36))
}

// named gives every request an ID, its caller's own where that is fit to be printed. The answer's
// header is where the ID is kept from then on.
func (ids *requestIDs) named(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Request().Header[headerRequestID]
		if len(id) != 1 || !isVisible(id[0], maxRequestIDBytes) {
			id = []string{ids.next()}
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

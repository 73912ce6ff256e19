package api

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
)

// allowedOrigins are the web origins whose pages may call the shop from a browser (CORS). "*" is
// all of them: that is safe because nothing here trusts a cookie.
type allowedOrigins []string

// allows reports whether a page of this origin may read our answers.
func (o allowedOrigins) allows(origin string) bool {
	return slices.Contains(o, origin) || slices.Contains(o, "*")
}

// withCORS adds the headers without which a browser keeps an answer from a page of another origin.
func (o allowedOrigins) withCORS(next echo.HandlerFunc) echo.HandlerFunc {
	if len(o) == 0 {
		return next
	}
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Add(echo.HeaderVary, echo.HeaderOrigin)
		if origin := c.Request().Header.Get(echo.HeaderOrigin); origin != "" && o.allows(origin) {
			h.Set(echo.HeaderAccessControlAllowOrigin, origin)
			h.Set(echo.HeaderAccessControlExposeHeaders, "Cartwheel-Checkout, Cartwheel-Error, ETag, Retry-After, X-Request-ID")
		}
		return next(c)
	}
}

// options answers OPTIONS on a route that exists: a preflight, with which a browser asks whether a
// page of an allowed origin may call the route, else 405.
func (o allowedOrigins) options(c echo.Context, allow string) error {
	asked := c.Request().Header
	origin := asked.Get(echo.HeaderOrigin)
	if origin == "" || asked.Get(echo.HeaderAccessControlRequestMethod) == "" || !o.allows(origin) {
		return methodNotAllowed(c, allow)
	}
	h := c.Response().Header()
	h.Add(echo.HeaderVary, echo.HeaderAccessControlRequestMethod)
	h.Add(echo.HeaderVary, echo.HeaderAccessControlRequestHeaders)
	h.Set(echo.HeaderAccessControlAllowMethods, allow)
	h.Set(echo.HeaderAccessControlAllowHeaders, "Authorization, Cartwheel-Reference, Content-Type, Idempotency-Key, If-Match, Traceparent, X-Request-ID")
	h.Set(echo.HeaderAccessControlMaxAge, "600") // seconds; a change of the setting is seen soon enough
	return c.JSONBlob(http.StatusOK, successBody)
}

package api

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
)

// allowedOrigins are the web origins whose pages may call the shop from a browser (CORS). "*" is all
// of them: that is safe because nothing here trusts a cookie.
type allowedOrigins []string

// allows reports whether a page of this origin may read our answers.
func (o allowedOrigins) allows(origin string) bool {
	return slices.Contains(o, origin) || slices.Contains(o, "*")
}

// shared adds to every answer what a browser must see before it hands it to a page of another
// origin.
func (o allowedOrigins) shared(next echo.HandlerFunc) echo.HandlerFunc {
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

// preflight answers a browser that asks whether a page may call a route. It reports false where
// this is not such a question, or the origin is not one of ours.
func (o allowedOrigins) preflight(c echo.Context, allow string) bool {
	asked := c.Request().Header
	origin := asked.Get(echo.HeaderOrigin)
	if origin == "" || asked.Get(echo.HeaderAccessControlRequestMethod) == "" || !o.allows(origin) {
		return false
	}
	h := c.Response().Header()
	h.Add(echo.HeaderVary, echo.HeaderAccessControlRequestMethod)
	h.Add(echo.HeaderVary, echo.HeaderAccessControlRequestHeaders)
	h.Set(echo.HeaderAccessControlAllowMethods, allow)
	h.Set(echo.HeaderAccessControlAllowHeaders, "Authorization, Cartwheel-Reference, Content-Type, Idempotency-Key, If-Match, Traceparent, X-Request-ID")
	h.Set(echo.HeaderAccessControlMaxAge, "600") // seconds; a change of the setting is seen soon enough
	return true
}

// options answers OPTIONS on a route that exists: a preflight where allowedOrigins are configured,
// else 405.
func (o allowedOrigins) options(c echo.Context, allow string) error {
	if len(o) > 0 && o.preflight(c, allow) {
		return c.JSONBlob(http.StatusOK, successBody)
	}
	return methodNotAllowed(c, allow)
}

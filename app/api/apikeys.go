package api

import (
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// apiKeys are the SHA-256 sums of the keys that open the shop: how long it takes to find a sum
// tells nothing about a key.
type apiKeys map[[sha256.Size]byte]bool

func newAPIKeys(keys []string) apiKeys {
	sums := apiKeys{}
	for _, key := range keys {
		sums[sha256.Sum256([]byte(key))] = true
	}
	return sums
}

// requireKey asks for a key before next. Without configured keys the shop is open.
func (k apiKeys) requireKey(next echo.HandlerFunc) echo.HandlerFunc {
	if len(k) == 0 {
		return next
	}
	return func(c echo.Context) error {
		const challenge = `Bearer realm="cartwheel"`
		key, ok := bearer(c.Request().Header)
		switch {
		case !ok:
			c.Response().Header().Set(echo.HeaderWWWAuthenticate, challenge)
			return refuse(http.StatusUnauthorized, "unauthorized", "Authorization: want the header once, as Bearer and an API key")
		case !k[sha256.Sum256([]byte(key))]:
			c.Response().Header().Set(echo.HeaderWWWAuthenticate, challenge+`, error="invalid_token"`)
			return refuse(http.StatusUnauthorized, "unauthorized", "Authorization: no such API key")
		}
		return next(c)
	}
}

func bearer(h http.Header) (key string, ok bool) {
	sent := h[echo.HeaderAuthorization]
	if len(sent) != 1 {
		return "", false
	}
	scheme, key, ok := strings.Cut(sent[0], " ")
	return key, ok && strings.EqualFold(scheme, "Bearer") && key != ""
}

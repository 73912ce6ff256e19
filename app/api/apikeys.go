package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// apiKeys are the hashes of the keys that open the shop. Hashes have one length, so that comparing
// them tells nothing about a key, not even how long it is.
type apiKeys [][sha256.Size]byte

func newAPIKeys(keys []string) apiKeys {
	hashes := make(apiKeys, len(keys))
	for i, key := range keys {
		hashes[i] = sha256.Sum256([]byte(key))
	}
	return hashes
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
		case !k.have(key):
			c.Response().Header().Set(echo.HeaderWWWAuthenticate, challenge+`, error="invalid_token"`)
			return refuse(http.StatusUnauthorized, "unauthorized", "Authorization: no such API key")
		}
		return next(c)
	}
}

// have looks at every key, so that the time it takes does not tell which one came close.
func (k apiKeys) have(key string) bool {
	hash := sha256.Sum256([]byte(key))
	found := 0
	for i := range k {
		found |= subtle.ConstantTimeCompare(k[i][:], hash[:])
	}
	return found == 1
}

func bearer(h http.Header) (key string, ok bool) {
	sent := h[echo.HeaderAuthorization]
	if len(sent) != 1 {
		return "", false
	}
	scheme, key, ok := strings.Cut(sent[0], " ")
	return key, ok && strings.EqualFold(scheme, "Bearer") && key != ""
}

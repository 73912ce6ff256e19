package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// signatureHeader carries the signature of a request when there is a secret.
const signatureHeader = "Cartwheel-Signature"

// signatureWindow is the maximum distance of a signature's time from the payment service's clock,
// either way. It bounds how long an intercepted request can be repeated.
const signatureWindow = 5 * time.Minute

// sign returns the signature header's value: t=<unix seconds>,v1=<hex HMAC-SHA256 of
// "t.METHOD.path.body">. path is the escaped path as requested, the base included.
func sign(secret string, at time.Time, method, path string, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "." + method + "." + path + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// Verify is for payment services: it returns why a request that came with this body at this time is
// not signed with the secret, or nil.
func Verify(secret string, now time.Time, r *http.Request, body []byte) error {
	header := r.Header.Get(signatureHeader)
	t, _, _ := strings.Cut(strings.TrimPrefix(header, "t="), ",")
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return errors.New("the request carries no well-formed " + signatureHeader)
	}
	at := time.Unix(seconds, 0)
	if now.Sub(at).Abs() > signatureWindow {
		return errors.New("the signature's time is more than 5 minutes off")
	}
	// RequestURI is the path as it was requested, also behind http.StripPrefix.
	if !hmac.Equal([]byte(header), []byte(sign(secret, at, r.Method, r.RequestURI, body))) {
		return errors.New("the signature does not fit the request")
	}
	return nil
}

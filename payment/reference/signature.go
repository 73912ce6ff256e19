package reference

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

const (
	signatureHeader  = "Cartwheel-Signature"
	signatureVersion = "v1="
	// signatureWindow is how far a signature's time may be from ours, either way: clocks differ,
	// and a request that was overheard must not be of use for long.
	signatureWindow = 5 * time.Minute
)

var (
	errUnsigned = errors.New("the request carries no well-formed " + signatureHeader)
	errOutdated = errors.New("the signature's time is more than 5 minutes off")
	errMisfit   = errors.New("the signature does not fit the request")
)

// verify checks a header of the form t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.METHOD.path.body">.
func verify(secret, header string, now time.Time, method, path string, body []byte) error {
	t, given, ok := strings.Cut(header, ",")
	if !ok || !strings.HasPrefix(t, "t=") || !strings.HasPrefix(given, signatureVersion) {
		return errUnsigned
	}
	t = t[len("t="):]
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return errUnsigned
	}
	signature, err := hex.DecodeString(given[len(signatureVersion):])
	if err != nil {
		return errUnsigned
	}
	if distance := now.Unix() - seconds; distance > int64(signatureWindow/time.Second) || distance < -int64(signatureWindow/time.Second) {
		return errOutdated
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "." + method + "." + path + "."))
	mac.Write(body)
	if !hmac.Equal(signature, mac.Sum(nil)) { // in constant time
		return errMisfit
	}
	return nil
}

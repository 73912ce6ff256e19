package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"
)

// signatureHeader carries the signature of a request when there is a secret.
const signatureHeader = "Cartwheel-Signature"

// sign returns the signature header's value: t=<unix seconds>,v1=<hex HMAC-SHA256 of
// "t.METHOD.path.body">. path is the escaped path as requested, the base included.
func sign(secret string, at time.Time, method, path string, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "." + method + "." + path + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

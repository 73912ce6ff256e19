package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestGateway_signsThePathAsRequested(t *testing.T) {
	t.Parallel()
	const secret = "sesame"
	var checked atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		header := r.Header.Get("Cartwheel-Signature")
		var seconds int64
		var signature string
		if _, err := fmt.Sscanf(header, "t=%d,v1=%s", &seconds, &signature); err != nil {
			t.Errorf("header %q: %v", header, err)
		}
		if off := time.Since(time.Unix(seconds, 0)); off < -time.Minute || off > time.Minute {
			t.Errorf("signed at %v, which is %v ago", seconds, off)
		}
		mac := hmac.New(sha256.New, []byte(secret))
		_, _ = fmt.Fprintf(mac, "%d.%s.%s.%s", seconds, r.Method, r.RequestURI, body)
		if want := hex.EncodeToString(mac.Sum(nil)); signature != want {
			t.Errorf("%s %s is signed %s, want %s", r.Method, r.RequestURI, signature, want)
		}
		checked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	gateway := connect(t, s.URL+"/base/", Options{Secret: secret})
	for _, call := range []string{"charge", "void", "refund"} {
		_, err := ask(t.Context(), gateway, call, "a/b")
		mustBeUnknown(t, call, Result{}, err)
	}
	if got := checked.Load(); got != 9 {
		t.Errorf("checked %d signatures, want 9", got)
	}
}

func TestSignature_matchesAKnownValue(t *testing.T) {
	t.Parallel()
	// printf '%s' '1700000000.PUT./base/payments/1.{"clientID":"ann","items":[]}' | openssl dgst
	// -sha256 -hmac sesame
	body := []byte(`{"clientID":"ann","items":[]}`)
	got := sign("sesame", time.Unix(1_700_000_000, 0), "PUT", "/base/payments/1", body)
	want := "t=1700000000,v1=129d0334d6f787787b03b8a6cece007a918fd2ac171838d31878717629104c12"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOpen_userinfoBecomesBasicAuthentication(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "shop" || password != "hunter2" {
			t.Errorf("BasicAuth = %q, %q, %v", user, password, ok)
		}
		w.WriteHeader(http.StatusForbidden)
	})
	gateway := connect(t, strings.Replace(s.URL, "http://", "http://shop:hunter2@", 1), Options{})
	_, err := gateway.Void(t.Context(), "1")
	mustBeUnknown(t, "Void", Result{}, err)
	if strings.Contains(err.Error()+gateway.String(), "hunter2") {
		t.Errorf("the password shows in %v or %s", err, gateway)
	}
}

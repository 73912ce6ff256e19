package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// event takes what Cartwheel announces. An event may come more than once and in any order: what it
// does must be the same each time.
func (s *shop) event(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil || !s.signed(r.Header, body) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var event struct {
		Type string
		Data struct{ CheckoutID, Reference string }
	}
	if err := json.Unmarshal(body, &event); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.orders[event.Data.Reference]; o != nil {
		o.Events++
		o.Checkout = event.Data.CheckoutID
		switch {
		case event.Type == "checkout.cancelled":
			o.State = "cancelled"
		case o.State == "authorised":
			o.State = "sold" // now the parcel can be packed
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// signed checks the signature as Standard Webhooks says. A real shop uses their library, which also
// checks the time.
func (s *shop) signed(h http.Header, body []byte) bool {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.secret, "whsec_"))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	io.WriteString(mac, h.Get("webhook-id")+"."+h.Get("webhook-timestamp")+"."+string(body))
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(want), []byte(h.Get("webhook-signature")))
}

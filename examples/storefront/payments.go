package main

import (
	"encoding/json"
	"net/http"
)

// The payment service: Cartwheel charges, voids and refunds by its checkout's ID. A repeat answers
// the same, and a void holds for a charge that comes later.

// charge captures the authorisation that the reference names.
func (s *shop) charge(w http.ResponseWriter, r *http.Request) {
	var body struct{ ClientID, Reference string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	number, seen := s.payments[id]
	o := s.orders[body.Reference]
	switch {
	case seen && (number == "" || s.orders[number].refunded):
		reply(w, http.StatusConflict, map[string]string{"status": "voided"})
	case o == nil || o.Client != body.ClientID || o.State == "declined":
		reply(w, http.StatusOK, map[string]string{"status": "declined", "reason": "the payment was not authorised"})
	case o.charged && !seen: // one order is paid once
		reply(w, http.StatusOK, map[string]string{"status": "declined", "reason": "the order is paid"})
	default:
		s.payments[id], o.charged = o.Number, true
		reply(w, http.StatusOK, map[string]string{"status": "approved"})
	}
}

// void makes sure that a checkout is never charged.
func (s *shop) void(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	if o := s.orders[s.payments[id]]; o != nil && o.charged && !o.refunded {
		reply(w, http.StatusConflict, map[string]string{"status": "approved"})
		return
	}
	if _, seen := s.payments[id]; !seen {
		s.payments[id] = ""
	}
	reply(w, http.StatusOK, map[string]string{"status": "voided"})
}

func (s *shop) refund(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orders[s.payments[r.PathValue("id")]]
	if o == nil {
		reply(w, http.StatusConflict, map[string]string{"status": "refused", "reason": "it was never charged"})
		return
	}
	o.refunded = true
	reply(w, http.StatusOK, map[string]string{"status": "refunded"})
}

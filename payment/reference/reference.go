// Package reference is a small payment service that keeps Cartwheel's payment protocol: the shop's
// side of it, to copy and to test against. It moves no money. A shop that copies it calls its
// payment provider where [Service] decides a charge, with the checkout's ID as the provider's
// idempotency key.
//
// It remembers every payment forever, in memory and in an append-only file, and flushes the file
// before each answer. It imports nothing of Cartwheel, so that it can be taken as it is.
package reference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// declinedPrefix begins the IDs of clients whose charges are declined.
	declinedPrefix = "decline-"

	maxIDBytes   = 400     // of a checkout's, a client's or a product's: 100 characters of 4 bytes
	maxBodyBytes = 4 << 20 // a cart of thousands of lines
)

// Options are the service's settings. The zero value is usable.
type Options struct {
	// Secret, when not empty, is what every request must be signed with.
	Secret string
	// Log gets what goes wrong on this side. Nil discards it.
	Log *slog.Logger
	// Now is the clock that signatures are checked against; time.Now when nil.
	Now func() time.Time
}

// Status is what became of a payment.
type Status string

// The states of a payment. Voided and Refunded are final: neither can be charged any more.
const (
	Charged  Status = "charged"
	Declined Status = "declined"
	Voided   Status = "voided"
	Refunded Status = "refunded"
)

// Item is one line of an order.
type Item struct {
	ProductID string `json:"productID"`
	Quantity  int64  `json:"quantity"`
}

// Payment is what the service knows of one checkout. ClientID and Items are empty where a void came
// first.
type Payment struct {
	CheckoutID string
	ClientID   string
	Reference  string // the shop's order number, quote or authorisation; empty: none
	Items      []Item
	Status     Status
	Reason     string // of a decline
	Captures   int    // 0 or 1
	Refunds    int    // 0 or 1
}

// Totals count payments by what became of them, and captures over all of them.
type Totals struct {
	Charged, Declined, Voided, Refunded int
	Captures                            int
}

// Service is an http.Handler that answers
//
//	PUT    /payments/{checkoutID}
//	DELETE /payments/{checkoutID}
//	POST   /payments/{checkoutID}/refund
//	GET    /payments/{checkoutID}
//
// at the root; http.StripPrefix puts it elsewhere. Its methods may be called by any number of
// goroutines.
type Service struct {
	secret string
	log    *slog.Logger
	now    func() time.Time
	routes *http.ServeMux
	ledger *ledger

	mu       sync.Mutex
	payments map[string]*entry // guarded by mu
}

// entry is a payment and the flush that makes its latest change durable, nil when it came from the
// file.
type entry struct {
	Payment
	stored *batch
}

// Open reads the file at path, or creates it, and returns the service. A last line that a crash has
// cut short was never answered for, and is dropped. It is an error when another process has the
// file open, or when a line in it is damaged. Close must be called at the end.
func Open(path string, options Options) (*Service, error) {
	s := &Service{
		secret:   options.Secret,
		log:      options.Log,
		now:      options.Now,
		routes:   http.NewServeMux(),
		payments: make(map[string]*entry),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.routes.HandleFunc("PUT /payments/{checkoutID}", s.handle(s.charge))
	s.routes.HandleFunc("DELETE /payments/{checkoutID}", s.handle(s.void))
	s.routes.HandleFunc("POST /payments/{checkoutID}/refund", s.handle(s.refund))
	s.routes.HandleFunc("GET /payments/{checkoutID}", s.handle(s.show))

	var err error
	s.ledger, err = openLedger(path, s.apply)
	if err != nil {
		return nil, fmt.Errorf("open the payments in %s: %w", path, err)
	}
	return s, nil
}

// Close flushes and closes the file. Requests that come later are answered 500. A repeat is
// harmless.
func (s *Service) Close() error { return s.ledger.close() }

// Payments returns a copy of all payments by checkout ID.
func (s *Service) Payments() map[string]Payment {
	s.mu.Lock()
	defer s.mu.Unlock()
	payments := make(map[string]Payment, len(s.payments))
	for id, known := range s.payments {
		payment := known.Payment
		payment.Items = slices.Clone(payment.Items)
		payments[id] = payment
	}
	return payments
}

// Totals counts the payments.
func (s *Service) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	var totals Totals
	for _, known := range s.payments {
		totals.Captures += known.Captures
		switch known.Status {
		case Charged:
			totals.Charged++
		case Declined:
			totals.Declined++
		case Voided:
			totals.Voided++
		case Refunded:
			totals.Refunded++
		}
	}
	return totals
}

// ServeHTTP answers one request: 401 when it is not signed as it must be, before anything else.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			s.write(w, fault(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxBodyBytes))
			return
		}
		s.write(w, fault(http.StatusBadRequest, "the body cannot be read"))
		return
	}
	if s.secret != "" {
		// RequestURI is the path as it was requested, before any http.StripPrefix.
		err := verify(s.secret, r.Header.Get(signatureHeader), s.now(), r.Method, r.RequestURI, body)
		if err != nil {
			s.write(w, fault(http.StatusUnauthorized, "%v", err))
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.routes.ServeHTTP(w, r)
}

// reply is an answer, and the flush that must have happened before it is given.
type reply struct {
	code   int
	body   any
	stored *batch
}

type answer struct {
	Status    string `json:"status"`
	Reason    string `json:"reason,omitempty"`
	Reference string `json:"reference,omitempty"` // of GET alone, as are the items
	Items     []Item `json:"items,omitempty"`
}

type problem struct {
	Error string `json:"error"`
}

func fault(code int, format string, args ...any) reply {
	return reply{code: code, body: problem{fmt.Sprintf(format, args...)}}
}

// handle gives a decision its ID and body, waits until what it decided is on disk, and answers.
func (s *Service) handle(decide func(checkoutID string, body []byte) reply) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("checkoutID")
		if !validID(id) {
			s.write(w, fault(http.StatusBadRequest, "the checkout's ID is not a text of 1 to %d bytes", maxIDBytes))
			return
		}
		if r.URL.RawQuery != "" {
			s.write(w, fault(http.StatusBadRequest, "there is no query in this protocol"))
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			s.write(w, fault(http.StatusBadRequest, "the body cannot be read"))
			return
		}
		decided := decide(id, body)
		if err := decided.stored.wait(); err != nil {
			s.log.Error("a payment could not be stored", "checkout", id, "error", err)
			decided = fault(http.StatusInternalServerError, "the payment could not be stored")
		}
		s.write(w, decided)
	}
}

func (s *Service) write(w http.ResponseWriter, answer reply) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.code)
	if err := json.NewEncoder(w).Encode(answer.body); err != nil {
		s.log.Debug("an answer was not taken", "error", err)
	}
}

// charge captures the payment once and answers the same to a repeat.
func (s *Service) charge(id string, body []byte) reply {
	ordered, err := parseOrder(body)
	if err != nil {
		return fault(http.StatusBadRequest, "%v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.payments[id]
	if known == nil {
		happened := event{CheckoutID: id, Kind: eventApproved, ClientID: ordered.ClientID, Reference: ordered.Reference, Items: ordered.Items}
		if strings.HasPrefix(ordered.ClientID, declinedPrefix) {
			happened.Kind = eventDeclined
			happened.Reason = "this service declines every client whose ID begins with " + declinedPrefix
		}
		known, err = s.record(happened)
		if err != nil {
			return fault(http.StatusInternalServerError, "the payment could not be stored")
		}
	}
	switch {
	case known.Status == Voided || known.Status == Refunded:
		return reply{http.StatusConflict, answer{Status: "voided"}, known.stored}
	case known.ClientID != ordered.ClientID || known.Reference != ordered.Reference || !slices.Equal(known.Items, ordered.Items):
		return fault(http.StatusUnprocessableEntity, "this checkout's ID was used for another order")
	case known.Status == Declined:
		return reply{http.StatusOK, answer{Status: "declined", Reason: known.Reason}, known.stored}
	default:
		return reply{http.StatusOK, answer{Status: "approved"}, known.stored}
	}
}

// void answers 409 for a charged payment, and leaves a tombstone for every other.
func (s *Service) void(id string, _ []byte) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.payments[id]
	if known == nil || known.Status == Declined {
		var err error
		known, err = s.record(event{CheckoutID: id, Kind: eventVoided})
		if err != nil {
			return fault(http.StatusInternalServerError, "the payment could not be stored")
		}
	}
	if known.Status == Charged {
		return reply{http.StatusConflict, answer{Status: "approved"}, known.stored}
	}
	return reply{http.StatusOK, answer{Status: "voided"}, known.stored}
}

// show answers the state of a payment and what it was for.
func (s *Service) show(id string, _ []byte) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.payments[id]
	if known == nil {
		return reply{code: http.StatusNotFound, body: answer{Status: "unknown"}}
	}
	status := string(known.Status)
	if known.Status == Charged {
		status = "approved"
	}
	return reply{http.StatusOK, answer{status, known.Reason, known.Reference, known.Items}, known.stored}
}

// refund refunds a charged payment, once.
func (s *Service) refund(id string, _ []byte) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.payments[id]
	if known == nil || known.Status == Declined || known.Status == Voided {
		return reply{code: http.StatusConflict, body: answer{Status: "refused", Reason: "this payment was not charged"}}
	}
	if known.Status == Charged {
		var err error
		known, err = s.record(event{CheckoutID: id, Kind: eventRefunded})
		if err != nil {
			return fault(http.StatusInternalServerError, "the payment could not be stored")
		}
	}
	return reply{http.StatusOK, answer{Status: "refunded"}, known.stored}
}

// record applies an event and hands it to the file, in one order for both. s.mu is held.
func (s *Service) record(happened event) (*entry, error) {
	happened.At = s.now().UTC()
	line, err := happened.line()
	if err != nil {
		s.log.Error("a payment could not be encoded", "checkout", happened.CheckoutID, "error", err)
		return nil, err
	}
	if err := s.apply(happened); err != nil {
		s.log.Error("a payment took an impossible turn", "checkout", happened.CheckoutID, "error", err)
		return nil, err
	}
	known := s.payments[happened.CheckoutID]
	known.stored = s.ledger.append(line)
	return known, nil
}

// apply changes the payment that an event is about. It refuses a turn that the protocol does not
// have, so that a damaged file is found when it is opened. s.mu is held, or the service not yet in
// use.
func (s *Service) apply(happened event) error {
	known := s.payments[happened.CheckoutID]
	var before Status
	if known != nil {
		before = known.Status
	}
	switch {
	case happened.Kind == eventApproved && before == "":
		known = &entry{Payment: Payment{
			CheckoutID: happened.CheckoutID, ClientID: happened.ClientID, Reference: happened.Reference,
			Items: happened.Items, Status: Charged, Captures: 1,
		}}
	case happened.Kind == eventDeclined && before == "":
		known = &entry{Payment: Payment{
			CheckoutID: happened.CheckoutID, ClientID: happened.ClientID, Reference: happened.Reference,
			Items: happened.Items, Status: Declined, Reason: happened.Reason,
		}}
	case happened.Kind == eventVoided && before == "":
		known = &entry{Payment: Payment{CheckoutID: happened.CheckoutID, Status: Voided}}
	case happened.Kind == eventVoided && before == Declined:
		known.Status, known.Reason = Voided, ""
	case happened.Kind == eventRefunded && before == Charged:
		known.Status = Refunded
		known.Refunds++
	default:
		return fmt.Errorf("payment %q cannot be %s when it is %q", happened.CheckoutID, happened.Kind, before)
	}
	s.payments[happened.CheckoutID] = known
	return nil
}

type order struct {
	ClientID  string `json:"clientID"`
	Reference string `json:"reference"`
	Items     []Item `json:"items"`
}

func parseOrder(body []byte) (order, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	var ordered order
	if err := decoder.Decode(&ordered); err != nil {
		return order{}, fmt.Errorf("the body is not an order: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return order{}, errors.New("there is something after the order")
	}
	switch {
	case !validID(ordered.ClientID):
		return order{}, fmt.Errorf("clientID is not a text of 1 to %d bytes", maxIDBytes)
	case len(ordered.Items) == 0:
		return order{}, errors.New("items is empty")
	}
	for i, item := range ordered.Items {
		if !validID(item.ProductID) || item.Quantity < 1 {
			return order{}, fmt.Errorf("items[%d] needs a productID and a quantity of 1 or more", i)
		}
	}
	return ordered, nil
}

func validID(id string) bool {
	return id != "" && len(id) <= maxIDBytes && utf8.ValidString(id)
}

// Package reference is a small payment service that keeps Cartwheel's payment protocol: the shop's
// side of it, to copy and to test against. It moves no money. A shop that copies it calls its
// payment provider where [Service] decides a charge, with the checkout's ID as the provider's
// idempotency key.
//
// It remembers every payment forever, in memory and in an append-only file, and flushes the file
// before each answer.
package reference

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"cartwheel/payment"
)

const (
	// declinedPrefix begins the IDs of clients whose charges are declined.
	declinedPrefix = "decline-"
	// noRefundPrefix begins the IDs of clients whose refunds are refused.
	noRefundPrefix = "norefund-"

	maxIDBytes   = 400     // of a checkout's, a client's or a product's: 100 characters of 4 bytes
	maxBodyBytes = 4 << 20 // a cart of thousands of lines
)

// Options are the service's settings. The zero value is usable.
type Options struct {
	// Secret is the key with which every request must be signed. Empty: signatures are not checked.
	Secret string
	// Log gets this side's faults. Nil discards them.
	Log *slog.Logger
}

// Payment is the service's record of one checkout. As a line of the file it is a change of the
// payment: the order is written once.
type Payment struct {
	CheckoutID string         `json:"checkoutID"`
	Status     payment.Status `json:"event"` // approved, declined, voided or refunded
	ClientID   string         `json:"clientID,omitzero"`
	Reference  string         `json:"reference,omitzero"` // the shop's order number, quote or authorisation
	Items      []payment.Item `json:"items,omitempty"`
	Reason     string         `json:"reason,omitzero"` // of a decline
	At         time.Time      `json:"at"`              // of the latest change
}

// Service is an http.Handler that answers
//
//	PUT    /payments/{checkoutID}
//	DELETE /payments/{checkoutID}
//	POST   /payments/{checkoutID}/refund
//	GET    /payments/{checkoutID}
//
// at the root; http.StripPrefix puts it elsewhere. Charges of clients whose ID begins with decline-
// are declined, refunds of clients whose ID begins with norefund- are refused. Its methods may be
// called by any number of goroutines.
type Service struct {
	options Options
	routes  http.ServeMux

	mu       sync.Mutex
	ledger   *ledger            // guarded by mu
	payments map[string]Payment // guarded by mu
}

// Open reads the file at path, or creates it, and returns the service. A last line that a crash has
// cut short was never answered for, and is dropped. It is an error when another process has the
// file open, or when a line in it is damaged. Close must be called at the end.
func Open(path string, options Options) (*Service, error) {
	options.Log = cmp.Or(options.Log, slog.New(slog.DiscardHandler))
	s := &Service{options: options, payments: make(map[string]Payment)}
	s.routes.HandleFunc("PUT /payments/{checkoutID}", s.answering(s.charge))
	s.routes.HandleFunc("DELETE /payments/{checkoutID}", s.answering(s.void))
	s.routes.HandleFunc("POST /payments/{checkoutID}/refund", s.answering(s.refund))
	s.routes.HandleFunc("GET /payments/{checkoutID}", s.answering(s.show))

	var err error
	s.ledger, err = openLedger(path, s.apply)
	if err != nil {
		return nil, fmt.Errorf("open the payments in %s: %w", path, err)
	}
	return s, nil
}

// Close closes the file. Requests that come later are answered 500. A repeat is harmless.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.close()
}

// ServeHTTP implements [http.Handler].
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

// Payments returns a copy of all payments by checkout ID.
func (s *Service) Payments() map[string]Payment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.payments)
}

// An answer is a status code and a body.
type answer struct {
	code      int
	Status    payment.Status `json:"status,omitzero"`
	Reason    string         `json:"reason,omitzero"`
	Reference string         `json:"reference,omitzero"` // of GET alone, as are the items
	Items     []payment.Item `json:"items,omitempty"`
	Error     string         `json:"error,omitzero"`
}

func fault(code int, format string, args ...any) answer {
	return answer{code: code, Error: fmt.Sprintf(format, args...)}
}

// A decision makes a change or looks a payment up. Its error means that the payment could not be
// stored.
type decision func(checkoutID string, body []byte) (answer, error)

// answering returns the handler of a route.
func (s *Service) answering(decide decision) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer := s.answer(w, r, decide)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer.code)
		if err := json.MarshalWrite(w, answer); err != nil {
			s.options.Log.Debug("an answer was not sent", "error", err)
		}
	}
}

// answer checks a request and decides it. Nothing else is decided at the same time.
func (s *Service) answer(w http.ResponseWriter, r *http.Request, decide decision) answer {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return fault(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", maxBodyBytes)
	}
	if err != nil {
		return fault(http.StatusBadRequest, "the body cannot be read: %v", err)
	}
	if s.options.Secret != "" {
		if err := payment.Verify(s.options.Secret, time.Now(), r, body); err != nil {
			return fault(http.StatusUnauthorized, "%v", err)
		}
	}
	id := r.PathValue("checkoutID")
	switch {
	case !validID(id):
		return fault(http.StatusBadRequest, "the checkout's ID is not a text of 1 to %d bytes", maxIDBytes)
	case r.URL.RawQuery != "":
		return fault(http.StatusBadRequest, "there is no query in this protocol")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	decided, err := decide(id, body)
	if err != nil {
		s.options.Log.Error("a payment could not be stored", "checkout", id, "error", err)
		return fault(http.StatusInternalServerError, "the payment could not be stored")
	}
	return decided
}

// charge captures the payment once and answers the same to a repeat. s.mu is held.
func (s *Service) charge(id string, body []byte) (answer, error) {
	order, err := parseOrder(body)
	if err != nil {
		return fault(http.StatusBadRequest, "%v", err), nil
	}
	known, repeated := s.payments[id]
	if !repeated {
		known = Payment{
			CheckoutID: id, Status: payment.Approved,
			ClientID: order.ClientID, Reference: order.Reference, Items: order.Items,
		}
		if strings.HasPrefix(order.ClientID, declinedPrefix) {
			known.Status = payment.Declined
			known.Reason = "this service declines every client whose ID begins with " + declinedPrefix
		}
		if err := s.record(known); err != nil {
			return answer{}, err
		}
	}
	switch {
	case known.Status == payment.Voided || known.Status == payment.Refunded:
		return answer{code: http.StatusConflict, Status: payment.Voided}, nil
	case known.ClientID != order.ClientID || known.Reference != order.Reference ||
		!slices.Equal(known.Items, order.Items):
		return fault(http.StatusUnprocessableEntity, "this checkout's ID was used for another order"), nil
	default:
		return answer{code: http.StatusOK, Status: known.Status, Reason: known.Reason}, nil
	}
}

// void answers 409 for an approved payment, and makes every other one impossible to charge. s.mu is
// held.
func (s *Service) void(id string, _ []byte) (answer, error) {
	switch s.payments[id].Status {
	case payment.Approved:
		return answer{code: http.StatusConflict, Status: payment.Approved}, nil
	case payment.Voided, payment.Refunded:
	default:
		if err := s.record(Payment{CheckoutID: id, Status: payment.Voided}); err != nil {
			return answer{}, err
		}
	}
	return answer{code: http.StatusOK, Status: payment.Voided}, nil
}

// refund refunds an approved payment, once. s.mu is held.
func (s *Service) refund(id string, _ []byte) (answer, error) {
	known := s.payments[id]
	switch {
	case known.Status == payment.Refunded:
	case known.Status != payment.Approved:
		return refused("this payment was not charged"), nil
	case strings.HasPrefix(known.ClientID, noRefundPrefix):
		return refused("this service refunds no client whose ID begins with " + noRefundPrefix), nil
	default:
		if err := s.record(Payment{CheckoutID: id, Status: payment.Refunded}); err != nil {
			return answer{}, err
		}
	}
	return answer{code: http.StatusOK, Status: payment.Refunded}, nil
}

func refused(reason string) answer {
	return answer{code: http.StatusConflict, Status: payment.Refused, Reason: reason}
}

// show answers the state and the order of a payment. s.mu is held.
func (s *Service) show(id string, _ []byte) (answer, error) {
	known, ok := s.payments[id]
	if !ok {
		return answer{code: http.StatusNotFound, Status: payment.Unknown}, nil
	}
	return answer{
		code: http.StatusOK, Status: known.Status, Reason: known.Reason, Reference: known.Reference, Items: known.Items,
	}, nil
}

// record stores a change of a payment, and then applies it. s.mu is held.
func (s *Service) record(change Payment) error {
	change.At = time.Now().UTC()
	if err := s.ledger.append(change); err != nil {
		return err
	}
	return s.apply(change)
}

// follows are the states that may follow each state of a payment.
var follows = map[payment.Status][]payment.Status{
	"":               {payment.Approved, payment.Declined, payment.Voided},
	payment.Declined: {payment.Voided},
	payment.Approved: {payment.Refunded},
}

// apply changes a payment. It refuses a change that the protocol does not have, so that a damaged
// file is found when it is opened. s.mu is held, or the service not yet in use.
func (s *Service) apply(change Payment) error {
	known := s.payments[change.CheckoutID]
	if !slices.Contains(follows[known.Status], change.Status) {
		return fmt.Errorf("payment %q cannot be %s when it is %q", change.CheckoutID, change.Status, known.Status)
	}
	if known.Status == "" {
		known = change
	}
	known.Status, known.Reason, known.At = change.Status, change.Reason, change.At
	s.payments[change.CheckoutID] = known
	return nil
}

func parseOrder(body []byte) (payment.Order, error) {
	var order payment.Order
	if err := json.Unmarshal(body, &order, json.RejectUnknownMembers(true)); err != nil {
		return order, fmt.Errorf("the body is not an order: %w", err)
	}
	switch {
	case !validID(order.ClientID):
		return order, fmt.Errorf("clientID is not a text of 1 to %d bytes", maxIDBytes)
	case len(order.Items) == 0:
		return order, errors.New("items is empty")
	}
	for i, item := range order.Items {
		if !validID(item.ProductID) || item.Quantity < 1 {
			return order, fmt.Errorf("items[%d] needs a productID and a quantity of 1 or more", i)
		}
	}
	return order, nil
}

func validID(id string) bool {
	return id != "" && len(id) <= maxIDBytes && utf8.ValidString(id)
}

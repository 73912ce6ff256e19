// Package payment owns the way to the shop's payment gateway: it charges, voids and refunds
// checkouts through the [Sandbox] or an [HTTPGateway]. The Checkout Manager is its only caller.
package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// Status is the state of a payment.
type Status string

// The states of a payment. Voided is final: such a payment can never be charged.
const (
	Approved Status = "approved"
	Declined Status = "declined"
	Voided   Status = "voided"
	Refunded Status = "refunded"
	Refused  Status = "refused" // of a refund: the payment is as it was before
	Unknown  Status = "unknown" // of a lookup: the payment service has never seen the payment
)

// Payment is the payment service's view of a checkout.
type Payment struct {
	Status    Status `json:"status"`
	Items     []Item `json:"items"`
	Reference string `json:"reference"`
}

// ErrNoLookup means that the payment service does not implement lookups, or answers them outside of
// the protocol.
var ErrNoLookup = errors.New("the payment service has no lookup")

// Result is a gateway's answer. Reason says why a payment was declined or a refund refused. It is
// printable text of at most 300 characters and may be empty.
type Result struct {
	Status Status `json:"status"`
	Reason string `json:"reason"`
}

// Item is one line of what was bought.
type Item struct {
	ProductID string `json:"productID"`
	Quantity  int64  `json:"quantity"`
}

// Order is the content of a charge. The payment service remembers it by CheckoutID, which must not
// be used for another order.
type Order struct {
	CheckoutID string `json:"-"` // part of the path
	ClientID   string `json:"clientID"`
	Reference  string `json:"reference,omitzero"` // the shop's Cartwheel-Reference; empty: none
	Items      []Item `json:"items"`
}

// ErrNotSent means that no byte of the call reached the service: the payment is as it was before.
var ErrNotSent = errors.New("payment request was not sent")

// ErrUnavailable means that charges have been failing and are refused for some seconds.
var ErrUnavailable = errors.New("payment service is unavailable")

// Gateway charges, voids and refunds checkouts. Its methods are safe for concurrent use.
//
// Charge, Void and Refund block until the payment service has answered, ctx ends, or the gateway's
// timeout has passed. Each may be repeated: a repeat returns the first result, or the payment's
// state since. An error means that the outcome is unknown, unless it is [ErrNotSent].
type Gateway interface {
	// Charge charges an order: Approved, Declined, or Voided when the checkout was voided or
	// refunded before.
	Charge(ctx context.Context, order Order) (Result, error)
	// Void voids a checkout unless it is charged. A charged one stays charged: Approved. Any other
	// is Voided, and never charged, not even by a charge that arrives later.
	Void(ctx context.Context, checkoutID string) (Result, error)
	// Refund refunds an approved checkout: Refunded, or Refused with a reason when the payment
	// service will not.
	Refund(ctx context.Context, checkoutID string) (Result, error)
	// Lookup returns the payment service's view of a checkout and changes nothing. [ErrNoLookup]
	// means that it has none; ask by Void then.
	Lookup(ctx context.Context, checkoutID string) (Payment, error)
	// Available returns [ErrUnavailable] while every charge would be refused. It neither blocks nor
	// changes anything: callers that never charge may ask it.
	Available() error
	// String is the gateway's URL as a person may see it, without a password.
	String() string
	// Close drops idle connections. Calls under way are not disturbed. A repeat is harmless.
	Close()
}

const (
	defaultTimeout     = 10 * time.Second
	defaultMaxInFlight = 4096
)

// Options are the settings of a gateway. The zero value is usable.
type Options struct {
	// Timeout is the maximum time of one Charge, Void or Refund over HTTP, its retries included; 10
	// s when zero. A caller's nearer deadline wins.
	Timeout time.Duration
	// Secret signs the requests of the HTTP gateway; empty means unsigned.
	Secret string
	// MaxInFlight bounds the HTTP gateway's connections, and so its calls at once; 4096 when zero.
	// A call beyond it waits for a connection within its time.
	MaxInFlight int
	// Log gets the circuit breaker's changes and, at debug level, each repeat. Nil discards them.
	Log *slog.Logger
	// Observe has hooks for metrics.
	Observe Observer
}

// Open returns the gateway that rawURL names: a [Sandbox] for sandbox:, an [HTTPGateway] for
// http:// and https://. It connects to nothing. Its errors say which part of the URL is
// wrong and what was expected; they contain no password.
func Open(rawURL string, options Options) (Gateway, error) {
	options.Timeout = cmp.Or(options.Timeout, defaultTimeout)
	options.MaxInFlight = cmp.Or(options.MaxInFlight, defaultMaxInFlight)
	options.Log = cmp.Or(options.Log, slog.New(slog.DiscardHandler))

	parsed, err := url.Parse(rawURL)
	if err != nil {
		// The error of url.Parse quotes the whole URL, and with it a password.
		if parseError, ok := errors.AsType[*url.Error](err); ok {
			err = parseError.Err
		}
		return nil, fmt.Errorf("payment URL cannot be read (%w): %s", err, expectedURL)
	}
	switch strings.ToLower(parsed.Scheme) {
	case "sandbox":
		return openSandbox(parsed, options)
	case "http", "https":
		if err := checkBase(parsed); err != nil {
			return nil, err
		}
		return newHTTPGateway(parsed, options), nil
	default:
		// It is not repeated: without a scheme, a password may stand anywhere in it.
		return nil, errors.New("payment URL has neither scheme: " + expectedURL)
	}
}

const expectedURL = "expected sandbox:, sandbox:?latency=2s&decline=0.1, or http://host/base of a payment service"

package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/payment"
	"cartwheel/queue"
)

// retrySoon and retryLater are values of Retry-After in seconds: for a full queue, and for a
// missing dependency.
const (
	retrySoon  = 1
	retryLater = 5
)

// headerCheckout has the checkout's ID, on every answer to a checkout once there is one.
const headerCheckout = "Cartwheel-Checkout"

// headerError has the machine-readable code of every answer that is not Success.
const headerError = "Cartwheel-Error"

// The values of Cartwheel-Error. They are part of the API.
const (
	codeInvalid             = "invalid"
	codeUnauthorized        = "unauthorized"
	codePending             = "pending"
	codePaymentDeclined     = "payment_declined"
	codeNoSuchProduct       = "no_such_product"
	codeNoSuchCheckout      = "no_such_checkout"
	codeNoSuchRoute         = "no_such_route"
	codeMethod              = "method"
	codeTooLarge            = "too_large"
	codeContentType         = "content_type"
	codeNotEnoughStock      = "not_enough_stock"
	codeCartEmpty           = "cart_empty"
	codeCheckoutUnderWay    = "checkout_under_way"
	codeTooManyLines        = "too_many_lines"
	codeNotCancellable      = "not_cancellable"
	codeCartChanged         = "cart_changed"
	codeKeyReused           = "key_reused"
	codeRateLimited         = "rate_limited"
	codeBusy                = "busy"
	codeDraining            = "draining"
	codeDatabaseUnavailable = "database_unavailable"
	codeLocked              = "locked"
	codePaymentUnavailable  = "payment_unavailable"
	codeInternal            = "internal"
	codeUnknown             = "unknown"
)

const (
	messageTooBusy  = "too busy, nothing was done: try again"
	messageDraining = "this instance is shutting down, nothing was done: try again"
	messageUnknown  = "the outcome is unknown: repeat the request with the same Idempotency-Key; " +
		"without one, check GET /cart or GET /checkouts first"
	messageInternal = "internal error"
	messagePending  = "its payment's outcome is not known yet; GET /checkout tells how it ends"
)

// statusCallerLeft is the status of a request whose caller left before its answer, for metrics
// alone. It is nginx's code; nobody reads the answer.
const statusCallerLeft = 499

// A row of the error table says how an error of a module is presented.
type row struct {
	sentinel   error
	status     int // HTTP
	code       string
	retryAfter int    // seconds; 0: none
	message    string // for the caller: no internal detail; messageOf may add to it
}

// errorTable is the one table from the modules' errors to answers. The first row that matches
// counts: modules come before the queue and the database, whose errors theirs may wrap. Any other
// error is a 500.
var errorTable = []row{
	{inventory.ErrNoProduct, http.StatusNotFound, codeNoSuchProduct, 0, "no such product"},
	{inventory.ErrNotEnough, http.StatusConflict, codeNotEnoughStock, 0, "not enough stock"},

	{errUnderWay, http.StatusConflict, codeCheckoutUnderWay, 0,
		"the cart is empty: a checkout of this client is under way"},
	{cart.ErrEmpty, http.StatusConflict, codeCartEmpty, 0, "the cart is empty"},
	{cart.ErrChanged, http.StatusPreconditionFailed, codeCartChanged, 0,
		"the cart has changed since it was read: read it again"},
	{checkout.ErrNotFound, http.StatusNotFound, codeNoSuchCheckout, 0, "no such checkout"},
	{cart.ErrTooManyLines, http.StatusConflict, codeTooManyLines, 0,
		"the cart would have more than 500 lines, or more than 2147483647 units of one product"},

	{idempotency.ErrMismatch, http.StatusUnprocessableEntity, codeKeyReused, 0,
		"this Idempotency-Key was used with another request"},
	{idempotency.ErrUnderWay, http.StatusServiceUnavailable, codeBusy, retrySoon,
		"the first request with this Idempotency-Key is still under way: try again with the same key"},

	{checkout.ErrDeclined, http.StatusPaymentRequired, codePaymentDeclined, 0, "payment declined"},
	{checkout.ErrUnpaid, http.StatusServiceUnavailable, codePaymentUnavailable, retryLater,
		"payment not completed, nothing is charged: try again"},
	{checkout.ErrRefunded, http.StatusConflict, codeNotEnoughStock, 0,
		"not enough stock: it was lowered during the payment; the payment was refunded"},
	{checkout.ErrNotCancellable, http.StatusConflict, codeNotCancellable, 0, "the checkout cannot be cancelled"},
	{checkout.ErrPending, http.StatusAccepted, codePending, 0, "the checkout is under way: " + messagePending},
	{checkout.ErrBusy, http.StatusServiceUnavailable, codeBusy, retrySoon, messageTooBusy},
	{checkout.ErrDraining, http.StatusServiceUnavailable, codeDraining, retryLater, messageDraining},

	{payment.ErrUnavailable, http.StatusServiceUnavailable, codePaymentUnavailable, retryLater,
		"payments are not possible at the moment, nothing was done: try again"},

	{queue.ErrFull, http.StatusServiceUnavailable, codeBusy, retrySoon, messageTooBusy},
	{queue.ErrClosed, http.StatusServiceUnavailable, codeDraining, retryLater, messageDraining},
	{queue.ErrNotStarted, http.StatusServiceUnavailable, codeBusy, retrySoon, messageTooBusy},
	{queue.ErrUnanswered, http.StatusGatewayTimeout, codeUnknown, 0, messageUnknown},
	{queue.ErrPanicked, http.StatusInternalServerError, codeInternal, 0, messageInternal},

	{database.ErrOutcomeUnknown, http.StatusGatewayTimeout, codeUnknown, 0, messageUnknown},
	{database.ErrRowLocked, http.StatusServiceUnavailable, codeLocked, retrySoon,
		"the stock or the cart is locked by another session, nothing was done: try again"},
	{database.ErrUnavailable, http.StatusServiceUnavailable, codeDatabaseUnavailable, retryLater,
		"the database is unavailable, nothing was done: try again"},

	// Last: a request timed out in a place that does not know the outcome.
	{context.DeadlineExceeded, http.StatusGatewayTimeout, codeUnknown, 0, messageUnknown},
	{context.Canceled, http.StatusGatewayTimeout, codeUnknown, 0, messageUnknown},
}

// messageOf returns the message of a row with what the error names: a product, a checkout or a
// reason.
func messageOf(err error, message string) string {
	if e, ok := errors.AsType[*inventory.NoProductError](err); ok {
		return message + ": " + e.ProductID
	}
	if e, ok := errors.AsType[*inventory.NotEnoughError](err); ok {
		return fmt.Sprintf("%s of product %s: wanted %d, available %d", message, e.ProductID, e.Wanted, e.Available)
	}
	if e, ok := errors.AsType[*checkout.ReasonError](err); ok && e.Reason != "" {
		switch {
		case errors.Is(e, checkout.ErrUnpaid):
			return "payment not completed, nothing is charged: " + e.Reason
		case !errors.Is(e, checkout.ErrRefunded):
			return message + ": " + e.Reason
		}
	}
	if e, ok := errors.AsType[*checkout.PendingError](err); ok && e.Cancelling {
		return "the cancellation of checkout " + e.CheckoutID +
			" is under way: its refund's outcome is not known yet; GET /checkout tells how it ends"
	} else if ok {
		return "checkout " + e.CheckoutID + " is under way: " + messagePending
	}
	return message
}

// A presentation is what is sent for an error.
type presentation struct {
	status     int // HTTP
	code       string
	body       []byte
	retryAfter int // seconds; 0: none
}

// presentError turns the result of a request into its answer. An error without a row is a 500
// without detail.
func presentError(err error) presentation {
	if err == nil {
		return presentation{status: http.StatusOK, body: successBody}
	}
	if replay, ok := errors.AsType[*idempotency.Replay](err); ok {
		return presentation{status: replay.Status, code: replay.Code, body: replay.Body}
	}
	if own, ok := errors.AsType[*refusal](err); ok {
		code := cmp.Or(own.code, usualCodes[own.status])
		return presentation{own.status, code, answer{statusFailed, own.message}.body(), own.retryAfter}
	}
	if empty, ok := errors.AsType[*cart.EmptyError](err); ok && empty.UnderWay {
		err = errUnderWay
	}
	for _, r := range errorTable {
		if !errors.Is(err, r.sentinel) {
			continue
		}
		status := statusFailed
		if r.status == http.StatusAccepted {
			status = statusPending
		}
		return presentation{r.status, r.code, answer{status, messageOf(err, r.message)}.body(), r.retryAfter}
	}
	return presentation{http.StatusInternalServerError, codeInternal, answer{statusFailed, messageInternal}.body(), 0}
}

// errUnderWay is a cart.EmptyError whose reason is a checkout under way. It has a code of its own.
var errUnderWay = errors.New("a checkout of this client is under way")

// Present renders an answer for modules that store it with an Idempotency-Key: the answer and its
// replays are the same bytes.
func Present(err error) idempotency.Response {
	p := presentError(err)
	return idempotency.Response{Status: p.status, Code: p.code, Body: p.body}
}

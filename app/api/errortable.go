package api

import (
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

// statusCallerLeft is the status of a request whose caller left before its answer, for metrics
// alone. It is nginx's code; nobody reads the answer.
const statusCallerLeft = 499

// A failure is an answer other than Success: Failed or Pending. The API returns it as an error of
// its own; errors of the modules have theirs in the error table.
type failure struct {
	status     int    // HTTP
	code       string // of Cartwheel-Error; part of the API
	retryAfter int    // seconds; 0: none
	message    string // for the caller: no internal detail
}

func (f *failure) Error() string { return f.message }

func refuse(status int, code, format string, args ...any) *failure {
	return &failure{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// badRequest says which field is wrong and what was expected.
func badRequest(format string, args ...any) *failure {
	return refuse(http.StatusBadRequest, "invalid", format, args...)
}

const (
	codeBusy       = "busy"
	messagePending = "its payment's outcome is not known yet; GET /checkout tells how it ends"
)

// Failures of several errors.
var (
	busy     = failure{http.StatusServiceUnavailable, codeBusy, retrySoon, "too busy, nothing was done: try again"}
	draining = failure{http.StatusServiceUnavailable, "draining", retryLater,
		"this instance is shutting down, nothing was done: try again"}
	unknown = failure{http.StatusGatewayTimeout, "unknown", 0,
		"the outcome is unknown: repeat the request with the same Idempotency-Key; " +
			"without one, look at GET /cart first"}
	internal = failure{http.StatusInternalServerError, "internal", 0, "internal error"}
)

// errorTable is the one table from the modules' errors to answers. The first row that matches
// counts: modules come before the queue and the database, whose errors theirs may wrap. Any other
// error is internal. messageOf adds to the messages.
var errorTable = []struct {
	sentinel error
	failure
}{
	{inventory.ErrNoProduct, failure{http.StatusNotFound, "no_such_product", 0, "no such product"}},
	{inventory.ErrNotEnough, failure{http.StatusConflict, "not_enough_stock", 0, "not enough stock"}},

	{cart.ErrCheckoutUnderWay, failure{http.StatusConflict, "checkout_under_way", 0,
		"the cart is empty: a checkout of this client is under way"}},
	{cart.ErrEmpty, failure{http.StatusConflict, "cart_empty", 0, "the cart is empty"}},
	{cart.ErrChanged, failure{http.StatusPreconditionFailed, "cart_changed", 0,
		"the cart has changed since it was read: read it again"}},
	{checkout.ErrNotFound, failure{http.StatusNotFound, "no_such_checkout", 0, "no such checkout"}},
	{cart.ErrTooManyLines, failure{http.StatusConflict, "too_many_lines", 0,
		"the cart would have more than 500 lines, or more than 2147483647 units of one product"}},

	{idempotency.ErrMismatch, failure{http.StatusUnprocessableEntity, "key_reused", 0,
		"this Idempotency-Key was used with another request"}},
	{idempotency.ErrUnderWay, failure{http.StatusServiceUnavailable, codeBusy, retrySoon,
		"the first request with this Idempotency-Key is still under way: try again with the same key"}},

	{checkout.ErrDeclined, failure{http.StatusPaymentRequired, "payment_declined", 0, "payment declined"}},
	{checkout.ErrUnpaid, failure{http.StatusServiceUnavailable, "payment_unavailable", retryLater,
		"payment not completed, nothing is charged: try again"}},
	{checkout.ErrRefunded, failure{http.StatusConflict, "not_enough_stock", 0,
		"not enough stock: it was lowered during the payment; the payment was refunded"}},
	{checkout.ErrNotCancellable, failure{http.StatusConflict, "not_cancellable", 0, "the checkout cannot be cancelled"}},
	{checkout.ErrPending, failure{http.StatusAccepted, "pending", 0, "the checkout is under way: " + messagePending}},
	{checkout.ErrBusy, busy},
	{checkout.ErrDraining, draining},

	{payment.ErrUnavailable, failure{http.StatusServiceUnavailable, "payment_unavailable", retryLater,
		"payments are not possible at the moment, nothing was done: try again"}},

	{queue.ErrFull, busy},
	{queue.ErrClosed, draining},
	{queue.ErrNotStarted, busy},
	{queue.ErrUnanswered, unknown},
	{queue.ErrPanicked, internal},

	{database.ErrOutcomeUnknown, unknown},
	{database.ErrRowLocked, failure{http.StatusServiceUnavailable, "locked", retrySoon,
		"the stock or the cart is locked by another session, nothing was done: try again"}},
	{database.ErrUnavailable, failure{http.StatusServiceUnavailable, "database_unavailable", retryLater,
		"the database is unavailable, nothing was done: try again"}},

	// Last: a request timed out in a place that does not know the outcome.
	{context.DeadlineExceeded, unknown},
	{context.Canceled, unknown},
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

// failureOf returns how a request that ended with err is answered.
func failureOf(err error) failure {
	if own, ok := errors.AsType[*failure](err); ok {
		return *own
	}
	for _, row := range errorTable {
		if errors.Is(err, row.sentinel) {
			row.message = messageOf(err, row.message)
			return row.failure
		}
	}
	return internal
}

// ResponseTo returns the answer to a request that ended with err. Modules store it with an
// Idempotency-Key: the answer and its replays are the same bytes.
func ResponseTo(err error) idempotency.Response {
	if err == nil {
		return idempotency.Response{Status: http.StatusOK, Body: successBody}
	}
	if replay, ok := errors.AsType[*idempotency.Replay](err); ok {
		return replay.Response
	}
	f := failureOf(err)
	body := answer{statusFailed, f.message}
	if f.status == http.StatusAccepted {
		body.Status = statusPending
	}
	return idempotency.Response{Status: f.status, Code: f.code, Body: render(body)}
}

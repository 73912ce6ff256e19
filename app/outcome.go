package app

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

// When to ask again, in seconds: a queue is through its jobs in far less than one, what went away needs a few.
const (
	retrySoon  = 1
	retryLater = 5
)

const (
	wordsTooBusy  = "too busy, nothing was done: try again"
	wordsDraining = "this instance is shutting down, nothing was done: try again"
	wordsUnknown  = "the outcome is not known: it may or may not have been done; " +
		"ask again with the same Idempotency-Key if the request had one, else look before repeating it"
	wordsInternal = "internal error"
)

// An outcome is how one of the modules' errors looks from outside.
type outcome struct {
	sentinel   error
	code       int
	retryAfter int                // seconds; 0: none
	words      func(error) string // for the caller: states what happened, never a detail of ours
}

// outcomes is the one table from what modules report to what callers read. The first row that matches counts:
// modules come before the queue and the database, whose errors theirs may wrap. What is not here is a 500.
var outcomes = []outcome{
	{sentinel: inventory.ErrNoProduct, code: http.StatusNotFound, words: noProduct},
	{sentinel: inventory.ErrNotEnough, code: http.StatusConflict, words: notEnough},

	{sentinel: cart.ErrEmpty, code: http.StatusConflict, words: emptyCart},
	{sentinel: cart.ErrTooManyLines, code: http.StatusConflict, words: always("the cart has 500 lines, which is the most that it takes")},

	{sentinel: idempotency.ErrMismatch, code: http.StatusUnprocessableEntity, words: always("this Idempotency-Key was used with another request")},
	{sentinel: idempotency.ErrUnderWay, code: http.StatusServiceUnavailable, retryAfter: retrySoon,
		words: always("the first request with this Idempotency-Key is still under way: try again with the same key")},

	{sentinel: checkout.ErrDeclined, code: http.StatusPaymentRequired, words: declined},
	{sentinel: checkout.ErrUnpaid, code: http.StatusServiceUnavailable, retryAfter: retryLater, words: unpaid},
	{sentinel: checkout.ErrRefunded, code: http.StatusConflict,
		words: always("not enough stock: it was lowered during the payment; the payment was refunded")},
	{sentinel: checkout.ErrPending, code: http.StatusAccepted, words: pending},
	{sentinel: checkout.ErrBusy, code: http.StatusServiceUnavailable, retryAfter: retrySoon, words: always(wordsTooBusy)},
	{sentinel: checkout.ErrDraining, code: http.StatusServiceUnavailable, retryAfter: retryLater, words: always(wordsDraining)},

	{sentinel: payment.ErrUnavailable, code: http.StatusServiceUnavailable, retryAfter: retryLater,
		words: always("payments are not possible at the moment, nothing was done: try again")},

	{sentinel: queue.ErrFull, code: http.StatusServiceUnavailable, retryAfter: retrySoon, words: always(wordsTooBusy)},
	{sentinel: queue.ErrClosed, code: http.StatusServiceUnavailable, retryAfter: retryLater, words: always(wordsDraining)},
	{sentinel: queue.ErrNotStarted, code: http.StatusServiceUnavailable, retryAfter: retrySoon, words: always(wordsTooBusy)},
	{sentinel: queue.ErrUnanswered, code: http.StatusGatewayTimeout, words: always(wordsUnknown)},
	{sentinel: queue.ErrPanicked, code: http.StatusInternalServerError, words: always(wordsInternal)},

	{sentinel: database.ErrOutcomeUnknown, code: http.StatusGatewayTimeout, words: always(wordsUnknown)},
	{sentinel: database.ErrRowLocked, code: http.StatusServiceUnavailable, retryAfter: retrySoon,
		words: always("the stock or the cart is locked by someone else, nothing was done: try again")},
	{sentinel: database.ErrUnavailable, code: http.StatusServiceUnavailable, retryAfter: retryLater,
		words: always("the database is unavailable, nothing was done: try again")},

	// Last: a request's time ran out somewhere that does not say what became of the work.
	{sentinel: context.DeadlineExceeded, code: http.StatusGatewayTimeout, words: always(wordsUnknown)},
	{sentinel: context.Canceled, code: http.StatusGatewayTimeout, words: always(wordsUnknown)},
}

func always(words string) func(error) string { return func(error) string { return words } }

func noProduct(err error) string {
	if e, ok := errors.AsType[*inventory.NoProductError](err); ok {
		return "no such product: " + e.ProductID
	}
	return "no such product"
}

func notEnough(err error) string {
	if e, ok := errors.AsType[*inventory.NotEnoughError](err); ok {
		return fmt.Sprintf("not enough stock of product %s: wanted %d, available %d", e.ProductID, e.Wanted, e.Available)
	}
	return "not enough stock"
}

func emptyCart(err error) string {
	if e, ok := errors.AsType[*cart.EmptyError](err); ok && e.UnderWay {
		return "the cart is empty: a checkout of this client is under way"
	}
	return "the cart is empty"
}

func declined(err error) string {
	if e, ok := errors.AsType[*checkout.DeclinedError](err); ok && e.Reason != "" {
		return "payment declined: " + e.Reason
	}
	return "payment declined"
}

func unpaid(err error) string {
	if e, ok := errors.AsType[*checkout.UnpaidError](err); ok && e.Reason != "" {
		return "payment not completed, nothing is charged: " + e.Reason
	}
	return "payment not completed, nothing is charged: try again"
}

func pending(err error) string {
	const ask = "its payment's outcome is not known yet; ask again with the same Idempotency-Key"
	if e, ok := errors.AsType[*checkout.PendingError](err); ok {
		return "checkout " + e.CheckoutID + " is under way: " + ask
	}
	return "the checkout is under way: " + ask
}

// A verdict is what is sent for an error.
type verdict struct {
	code       int
	body       []byte
	retryAfter int // seconds; 0: none
}

// verdictOf turns the result of a request into its answer. An error that nobody foresaw gets no detail.
func verdictOf(err error) verdict {
	if err == nil {
		return verdict{code: http.StatusOK, body: successBody}
	}
	if replay, ok := errors.AsType[*idempotency.Replay](err); ok {
		return verdict{code: replay.Status, body: replay.Body}
	}
	if own, ok := errors.AsType[*refusal](err); ok {
		return verdict{own.code, answer{statusFailed, own.words}.body(), own.retryAfter}
	}
	for _, o := range outcomes {
		if !errors.Is(err, o.sentinel) {
			continue
		}
		status := statusFailed
		if o.code == http.StatusAccepted {
			status = statusPending
		}
		return verdict{o.code, answer{status, o.words(err)}.body(), o.retryAfter}
	}
	return verdict{code: http.StatusInternalServerError, body: answer{statusFailed, wordsInternal}.body()}
}

// present renders an answer for modules that keep it beside an idempotency key: what is sent now and what
// is sent again later are the same bytes.
func present(err error) (status int, body []byte) {
	v := verdictOf(err)
	return v.code, v.body
}

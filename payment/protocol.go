package payment

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
)

const (
	// maxAnswerBytes is the maximum size of an answer in bytes. One takes less than a hundred and a
	// reason.
	maxAnswerBytes = 64 << 10
	// maxLookupBytes is the maximum size of a lookup's answer in bytes. It lists a whole cart.
	maxLookupBytes = 4 << 20
	// maxReasonRunes is the maximum length of a reason in characters: the journal's column has no
	// more room.
	maxReasonRunes = 300
	// maxQuotedBytes is the maximum of an answer that an error quotes, in bytes.
	maxQuotedBytes = 200
)

// A call is one kind of request of the protocol.
type call struct {
	name     string // for errors, logs and metrics
	method   string
	suffix   string // of the path, after the checkout's ID
	maxBytes int64  // of an answer
	answers  []answer
}

// An answer is a status code and a state that the protocol knows together.
type answer struct {
	code   int
	status Status
}

var (
	charge = call{"charge", http.MethodPut, "", maxAnswerBytes, []answer{
		{http.StatusOK, Approved}, {http.StatusOK, Declined}, {http.StatusConflict, Voided},
	}}
	void = call{"void", http.MethodDelete, "", maxAnswerBytes, []answer{
		{http.StatusOK, Voided}, {http.StatusConflict, Approved},
	}}
	refund = call{"refund", http.MethodPost, "/refund", maxAnswerBytes, []answer{
		{http.StatusOK, Refunded}, {http.StatusConflict, Refused},
	}}
	lookup = call{"lookup", http.MethodGet, "", maxLookupBytes, []answer{
		{http.StatusOK, Approved}, {http.StatusOK, Declined}, {http.StatusOK, Voided}, {http.StatusOK, Refunded},
		{http.StatusNotFound, Unknown},
	}}
)

// parse returns the meaning of an answer, or an error when the protocol does not know it. Names and
// states are matched exactly, and two fields of one name are an error. Other fields are the payment
// service's own business.
func (c *call) parse(code int, body []byte) (Result, error) {
	var result Result
	err := json.Unmarshal(body, &result)
	if err == nil && !slices.Contains(c.answers, answer{code, result.Status}) {
		err = fmt.Errorf("it is no answer to %s", c.method)
	}
	if err != nil {
		err = fmt.Errorf("the payment service answered %d, beginning %.*q: %w", code, maxQuotedBytes, body, err)
		if c == &lookup {
			err = fmt.Errorf("%w: %w", ErrNoLookup, err)
		}
		return Result{}, err
	}
	result.Reason = cleanReason(result.Reason)
	return result, nil
}

// cleanReason makes a foreign text fit to be stored and shown: one line, bounded.
func cleanReason(reason string) string {
	reason = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, reason))
	if runes := []rune(reason); len(runes) > maxReasonRunes {
		return string(runes[:maxReasonRunes-1]) + "…"
	}
	return reason
}

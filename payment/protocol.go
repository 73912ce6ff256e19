package payment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxAnswerBytes = 64 << 10 // an answer of the protocol takes less than a hundred and a reason
	maxReasonRunes = 300      // what the journal's column and a person have room for
	maxQuotedBytes = 200      // of an answer that is not understood, in an error
)

// call is one request of the protocol.
type call struct {
	name    string // for errors, logs and metrics
	method  string
	suffix  string // of the path, after the checkout's ID
	answers []meaning
}

// meaning is what one answer stands for. An answer that has none leaves the outcome unknown.
type meaning struct {
	code   int
	status string
	result Status
}

// refused is an end of a refund. Callers get a [RefusedError].
const refused Status = "refused"

func chargeCall() call {
	return call{name: "charge", method: http.MethodPut, answers: []meaning{
		{http.StatusOK, "approved", Approved},
		{http.StatusOK, "declined", Declined},
		{http.StatusConflict, "voided", Voided},
	}}
}

func (c call) charges() bool { return c.method == http.MethodPut }

func voidCall() call {
	return call{name: "void", method: http.MethodDelete, answers: []meaning{
		{http.StatusOK, "voided", Voided},
		{http.StatusConflict, "approved", Approved},
	}}
}

func refundCall() call {
	return call{name: "refund", method: http.MethodPost, suffix: "/refund", answers: []meaning{
		{http.StatusOK, "refunded", Refunded},
		{http.StatusConflict, "refused", refused},
	}}
}

func lookupCall() call { return call{name: "lookup", method: http.MethodGet} }

// A payment is the body of a lookup's answer. Fields of later versions are ignored.
type payment struct {
	Status    Status `json:"status"`
	Items     []Item `json:"items"`
	Reference string `json:"reference"`
}

// parseLookup returns the meaning of a lookup's answer: [ErrNoLookup] for one that the protocol
// does not know.
func parseLookup(code int, body []byte) (Payment, error) {
	var p payment
	if err := json.Unmarshal(body, &p); err != nil {
		return Payment{}, fmt.Errorf("%w: it answered %d with %s", ErrNoLookup, code, quote(body))
	}
	switch {
	case code == http.StatusNotFound && p.Status == Unknown:
		return Payment{Status: Unknown}, nil
	case code == http.StatusOK && slices.Contains([]Status{Approved, Declined, Voided, Refunded}, p.Status):
		return Payment(p), nil
	}
	return Payment{}, fmt.Errorf("%w: it answered %d with %s", ErrNoLookup, code, quote(body))
}

// parse returns the meaning of an answer, or an error when the protocol does not know it.
func (c call) parse(code int, body []byte) (Result, error) {
	answer, err := parseAnswer(body)
	if err != nil {
		return Result{}, fmt.Errorf("the payment service answered %d with %s: %w", code, quote(body), err)
	}
	for _, m := range c.answers {
		if m.code != code || m.status != answer.status {
			continue
		}
		result := Result{Status: m.result}
		if m.result == Declined || m.result == refused {
			result.Reason = cleanReason(answer.reason)
		}
		return result, nil
	}
	return Result{}, fmt.Errorf("the payment service answered %d with %s, which is no answer to %s", code, quote(body), c.method)
}

type answer struct{ status, reason string }

// parseAnswer reads one JSON object with a status and perhaps a reason. Other fields are the
// gateway's own business. It does not use json.Unmarshal, which takes "STATUS" for status, and the
// last of two.
func parseAnswer(body []byte) (answer, error) {
	if !utf8.Valid(body) {
		return answer{}, errors.New("invalid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return answer{}, errors.New("not a JSON object")
	}
	var status, reason *string
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return answer{}, fmt.Errorf("broken JSON: %w", err)
		}
		switch {
		case name == "status" && status == nil:
			status = new(string)
			err = decodeString(decoder, status)
		case name == "reason" && reason == nil:
			reason = new(string)
			err = decodeString(decoder, reason)
		case name == "status" || name == "reason":
			err = fmt.Errorf("two fields %q", name)
		default:
			var skipped json.RawMessage
			err = decoder.Decode(&skipped)
		}
		if err != nil {
			return answer{}, err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return answer{}, fmt.Errorf("broken JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return answer{}, errors.New("something after the JSON object")
	}
	if status == nil {
		return answer{}, errors.New("no status")
	}
	if reason == nil {
		reason = new(string)
	}
	return answer{*status, *reason}, nil
}

// decodeString takes null for an empty string, as many a service writes an absent reason.
func decodeString(decoder *json.Decoder, into *string) error {
	token, err := decoder.Token()
	if err != nil {
		return fmt.Errorf("broken JSON: %w", err)
	}
	switch value := token.(type) {
	case string:
		*into = value
		return nil
	case nil:
		return nil
	default:
		return errors.New("a status or reason that is not a string")
	}
}

// cleanReason makes a stranger's text fit to be stored and shown: one line, bounded.
func cleanReason(reason string) string {
	reason = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, reason))
	if utf8.RuneCountInString(reason) <= maxReasonRunes {
		return reason
	}
	return string([]rune(reason)[:maxReasonRunes-1]) + "…"
}

func quote(body []byte) string {
	if len(body) > maxQuotedBytes {
		return fmt.Sprintf("%q…", body[:maxQuotedBytes])
	}
	return fmt.Sprintf("%q", body)
}

package api

import (
	"fmt"
	"net/http"
)

// A refusal is an answer that the API gives by itself, before any module is called.
type refusal struct {
	status     int    // HTTP status
	code       string // the Cartwheel-Error code; empty: the usual one of the status
	message    string
	retryAfter int // seconds; 0: none
}

func (r *refusal) Error() string { return r.message }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, message: fmt.Sprintf(format, args...)}
}

// badRequest says which field is wrong and what was expected.
func badRequest(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, format, args...)
}

// usualCodes are the Cartwheel-Error codes of refusals by HTTP status.
var usualCodes = map[int]string{
	http.StatusBadRequest:            codeInvalid,
	http.StatusUnauthorized:          codeUnauthorized,
	http.StatusNotFound:              codeNoSuchRoute,
	http.StatusMethodNotAllowed:      codeMethod,
	http.StatusRequestEntityTooLarge: codeTooLarge,
	http.StatusUnsupportedMediaType:  codeContentType,
}

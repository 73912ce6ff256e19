package app

import (
	"fmt"
	"net/http"
)

// A refusal is an answer that the edge gives by itself, before any module is asked.
type refusal struct {
	code       int
	words      string
	retryAfter int // seconds; 0: none
}

func (r *refusal) Error() string { return r.words }

func refuse(code int, format string, args ...any) *refusal {
	return &refusal{code: code, words: fmt.Sprintf(format, args...)}
}

// badRequest says which field is wrong and what was expected.
func badRequest(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, format, args...)
}

// Package api owns the public HTTP API: parsing, limits, the error table and the documentation. app
// starts it over the Cart Manager.
package api

import (
	"bytes"
	"encoding/json"
)

// What the status of an answer can be.
const (
	statusSuccess = "Success"
	statusFailed  = "Failed"
	statusPending = "Pending"
)

// successBody is the answer to everything that went well. It is sent as it is, and never written
// to.
var successBody = answer{Status: statusSuccess}.body()

// An answer is the body of whatever the public listener says outside the documentation.
// Error is empty exactly when Status is Success.
type answer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
}

// body renders the answer as one line of JSON.
func (a answer) body() []byte {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false) // the reader is a program or a person, not a page
	if err := encoder.Encode(a); err != nil {
		panic(err) // two strings always encode
	}
	return line.Bytes()
}

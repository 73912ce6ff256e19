// Package idempotency stores the first answer to each request that carried an Idempotency-Key, and
// replays it to every repeat. It owns the table idempotency_key. The cart and checkout managers
// call it inside the transactions whose outcomes it stores.
//
// The header is that of draft-ietf-httpapi-idempotency-key-header.
package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"cartwheel/database"
)

// Keep is the minimum time for which a key is stored.
const Keep = 24 * time.Hour

var (
	// ErrMismatch means that the key was used with another request before.
	ErrMismatch = errors.New("this Idempotency-Key was used with another request")
	// ErrUnderWay means that the first request with this key has no answer yet.
	ErrUnderWay = errors.New("the first request with this Idempotency-Key is still under way")
)

// An UnderWayError is ErrUnderWay with the checkout that the first request began, if any.
type UnderWayError struct{ CheckoutID string }

func (*UnderWayError) Error() string { return ErrUnderWay.Error() }
func (*UnderWayError) Unwrap() error { return ErrUnderWay }

// A Response is an answer as it is stored with a key.
type Response struct {
	Status     int    // HTTP; 0 while the request is under way
	Code       string // the Cartwheel-Error; empty: none
	CheckoutID string // the checkout that the request began; empty: none
	Body       []byte
}

// Replay is the stored answer to the first request with a key. It is an error so that every layer
// passes it on; the HTTP API writes it as it is.
type Replay struct{ Response }

func (r *Replay) Error() string { return fmt.Sprintf("replay of an answer %d", r.Status) }

// A Key names one request of one client on one endpoint. The zero Key is no key.
type Key struct {
	ClientID, Endpoint, Key string
}

// None reports whether the request carried no key.
func (k Key) None() bool { return k.Key == "" }

// A Hash tells requests apart that carry the same key.
type Hash [sha256.Size]byte

// HashOf returns the hash of a request with these parts. Equal requests have equal hashes.
func HashOf(parts ...string) Hash {
	var sized []byte
	for _, part := range parts {
		sized = binary.AppendUvarint(sized, uint64(len(part)))
		sized = append(sized, part...)
	}
	return sha256.Sum256(sized)
}

// A Request is a key with the hash of the request that uses it.
type Request struct {
	Key  Key
	Hash Hash
}

// A Record is what is stored under a key.
type Record struct {
	Request
	Response
}

// Unanswered reports whether the request has no answer yet.
func (r Record) Unanswered() bool { return r.Status == 0 }

// Answer returns what a repeat with this hash gets: *Replay, ErrMismatch, or *UnderWayError.
func (r Record) Answer(hash Hash) error {
	switch {
	case r.Hash != hash:
		return ErrMismatch
	case r.Unanswered():
		return &UnderWayError{r.CheckoutID}
	}
	return &Replay{r.Response}
}

// lateTimeout is the maximum time of StoredAnswerOr.
const lateTimeout = time.Second

// StoredAnswerOr returns what Record.Answer says of the stored key of a request whose own time may
// be over, or the other answer when no record was found or it could not be read. It locks nothing.
func StoredAnswerOr(ctx context.Context, db *database.DB, request Request, other error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateTimeout)
	defer cancel()
	stored, err := database.Query(ctx, db.Read, func(tx *database.Tx) (map[Key]Record, error) {
		return find(ctx, tx, []Key{request.Key})
	})
	record, found := stored[request.Key]
	if err != nil || !found {
		return other
	}
	return record.Answer(request.Hash)
}

// A stamp is when records were stored, by the database's clock to the microsecond. It tells the
// records of one transaction from those that another one stored under the same keys.
type stamp string

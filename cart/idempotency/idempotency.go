// Package idempotency remembers the first answer to each request that carried an Idempotency-Key, and gives it to
// every repeat. It owns the table idempotency_key; the cart and checkout managers call it inside the transactions
// whose effects the answers tell of.
//
// The header is that of draft-ietf-httpapi-idempotency-key-header.
package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cartwheel/database"
)

// Keep is how long a key is remembered at least.
const Keep = 24 * time.Hour

var (
	// ErrMismatch means that the key was used with another request before.
	ErrMismatch = errors.New("this Idempotency-Key was used with another request")
	// ErrUnderWay means that the first request with this key has no answer yet, and was waited for in vain.
	ErrUnderWay = errors.New("the first request with this Idempotency-Key is still under way")
)

// Replay is the stored answer to the first request with a key, as an error that every layer hands through: the
// edge writes it as it stands.
type Replay struct {
	Status int
	Body   []byte
}

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

// A Request is what tells a request from others, and its repeats from misuse of their key.
type Request struct {
	Key  Key
	Hash Hash
}

// A Record is what is stored under a key.
type Record struct {
	Request
	Status int // 0 while the request is under way
	Body   []byte
}

// UnderWay reports whether the request has no answer yet.
func (r Record) UnderWay() bool { return r.Status == 0 }

// Answer returns what a repeat with this hash gets: *Replay, ErrMismatch, or ErrUnderWay.
func (r Record) Answer(hash Hash) error {
	switch {
	case r.Hash != hash:
		return ErrMismatch
	case r.UnderWay():
		return ErrUnderWay
	}
	return &Replay{r.Status, r.Body}
}

// Find returns what is stored under the key, and whether anything is. It locks nothing.
func Find(ctx context.Context, db *database.DB, key Key) (Record, bool, error) {
	var known map[Key]Record
	err := db.Read(ctx, func(tx *database.Tx) (err error) {
		known, err = find(ctx, tx, []Key{key})
		return err
	})
	record, ok := known[key]
	return record, ok, err
}

// Recalled is what a batch of requests turned out to be. Requests that are in neither map are new.
type Recalled struct {
	Known   map[int]error // answers to the requests whose keys are stored, as Record.Answer gives them
	Repeats map[int]int   // requests whose key an earlier one of the batch has: which one
}

// Recall looks the keys of a batch up, in one statement, and in none when no request has a key.
func Recall(ctx context.Context, tx *database.Tx, requests []Request) (Recalled, error) {
	var recalled Recalled
	var keys []Key
	for _, r := range requests {
		if !r.Key.None() {
			keys = append(keys, r.Key)
		}
	}
	if len(keys) == 0 {
		return recalled, nil
	}
	stored, err := find(ctx, tx, keys)
	if err != nil {
		return recalled, err
	}
	recalled = Recalled{Known: map[int]error{}, Repeats: map[int]int{}}
	first := make(map[Key]int, len(keys))
	for i, r := range requests {
		if r.Key.None() {
			continue
		}
		if record, ok := stored[r.Key]; ok {
			recalled.Known[i] = record.Answer(r.Hash)
			continue
		}
		if earlier, ok := first[r.Key]; ok {
			recalled.Repeats[i] = earlier
			continue
		}
		first[r.Key] = i
	}
	return recalled, nil
}

// A Stamp is when records were stored, by the database's clock to the microsecond: it tells what one transaction
// stored from what another one stored under the same key.
type Stamp string

// Store stores new records. ErrRetry of package database means that another instance was first with one of
// them: all is to be run again, and then finds it.
func Store(ctx context.Context, tx *database.Tx, records []Record) (Stamp, error) {
	stamp, err := now(ctx, tx)
	if err != nil {
		return "", err
	}
	if err = insert(ctx, tx, records, stamp); database.IsDuplicate(err) {
		err = fmt.Errorf("%w: %w", database.ErrRetry, err)
	}
	return stamp, err
}

// Landed reports whether the key was stored with this stamp. It locks the row, and so waits for a commit that is
// still under way.
func Landed(ctx context.Context, tx *database.Tx, key Key, stamp Stamp) (bool, error) {
	return isStored(ctx, tx, key, stamp)
}

// Probe locks what is stored under the key. It fails at once (database.IsRowLocked) where someone else has it locked, or
// has inserted it and not committed.
func Probe(ctx context.Context, tx *database.Tx, key Key) error { return probe(ctx, tx, key) }

// Fill gives the answer to a request that was stored as under way, and is kept from now on. An answer that is there
// already stays.
func Fill(ctx context.Context, tx *database.Tx, key Key, status int, body []byte) error {
	return fill(ctx, tx, key, status, body)
}

const (
	pruneEvery = time.Minute
	// pruneRows is the most keys that one transaction prunes.
	pruneRows = database.ChunkRows
)

// Prune deletes answered keys that are older than Keep, in small transactions, until ctx ends. It blocks.
func Prune(ctx context.Context, db *database.DB, log *slog.Logger) {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for {
			pruned, err := pruneOnce(ctx, db)
			if err != nil && ctx.Err() == nil {
				log.Warn("prune idempotency keys", "error", err)
			}
			if err != nil || pruned < pruneRows {
				break
			}
		}
	}
}

func pruneOnce(ctx context.Context, db *database.DB) (int, error) {
	var old []Key
	err := db.Read(ctx, func(tx *database.Tx) (err error) {
		old, err = answeredBefore(ctx, tx, Keep+time.Hour, pruneRows)
		return err
	})
	if err != nil || len(old) == 0 {
		return 0, err
	}
	err = db.Transact(ctx, func(tx *database.Tx) error { return remove(ctx, tx, old) }, nil)
	return len(old), err
}

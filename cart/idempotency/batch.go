package idempotency

import (
	"context"
	"fmt"

	"cartwheel/database"
)

// A Batch handles the keys of the requests that one transaction answers: it finds stored answers
// and repeats, stores the new answers, and looks them up when the answer to COMMIT was lost.
//
// The calls come in this order: Find, Put for each new request, Store. A retried transaction begins
// with Find again. A Batch belongs to one goroutine.
type Batch struct {
	requests []Request
	repeats  map[int]int // index of a repeat → index of the first request with its key
	records  []Record    // to be stored
	stamp    stamp       // of records
}

// NewBatch returns the batch of these requests. A request without a key is always new.
func NewBatch(requests []Request) *Batch { return &Batch{requests: requests} }

// Find looks all keys up, in one statement, or in none when no request has a key. It returns the
// answers to the requests whose keys are stored, as Record.Answer gives them, and the indexes of
// the new requests, in order. Requests that repeat an earlier one of the batch are in neither:
// Repeats answers them.
func (b *Batch) Find(ctx context.Context, tx *database.Tx) (known map[int]error, fresh []int, err error) {
	b.repeats, b.records = map[int]int{}, nil
	var keys []Key
	for _, r := range b.requests {
		if !r.Key.None() {
			keys = append(keys, r.Key)
		}
	}
	stored, err := find(ctx, tx, keys)
	if err != nil {
		return nil, nil, err
	}
	known = map[int]error{}
	first := make(map[Key]int, len(keys))
	for i, r := range b.requests {
		record, isKnown := stored[r.Key]
		earlier, isRepeat := first[r.Key]
		switch {
		case r.Key.None():
			fresh = append(fresh, i)
		case isKnown:
			known[i] = record.Answer(r.Hash)
		case isRepeat:
			b.repeats[i] = earlier
		default:
			first[r.Key] = i
			fresh = append(fresh, i)
		}
	}
	return known, fresh, nil
}

// Put notes the answer to a request for Store. A status of 0 means that the request is under way.
// It does nothing for a request without a key.
func (b *Batch) Put(request int, response Response) {
	if r := b.requests[request]; !r.Key.None() {
		b.records = append(b.records, Record{r, response})
	}
}

// Empty reports whether there is nothing to store.
func (b *Batch) Empty() bool { return len(b.records) == 0 }

// Store stores the answers of Put. It returns ErrRetry of package database when another transaction
// stored one of the keys first; a retry then finds it.
func (b *Batch) Store(ctx context.Context, tx *database.Tx) (err error) {
	if b.Empty() {
		return nil
	}
	if b.stamp, err = now(ctx, tx); err != nil {
		return err
	}
	err = insert(ctx, tx, b.records, b.stamp)
	if database.IsDuplicate(err) {
		return fmt.Errorf("%w: %w", database.ErrRetry, err)
	}
	return err
}

// WasCommitted reports whether the answers of the last Store were committed. It locks their rows,
// and so waits for a COMMIT that is still under way.
func (b *Batch) WasCommitted(ctx context.Context, tx *database.Tx) (bool, error) {
	stored, err := countStored(ctx, tx, b.records, b.stamp)
	return stored > 0 && stored == len(b.records), err
}

// Repeats calls answer for each request whose key an earlier request of the batch has. The error is
// ErrMismatch when the two differ.
func (b *Batch) Repeats(answer func(repeat, first int, err error)) {
	for i, first := range b.repeats {
		var err error
		if b.requests[i] != b.requests[first] {
			err = ErrMismatch
		}
		answer(i, first, err)
	}
}

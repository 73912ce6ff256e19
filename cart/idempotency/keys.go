package idempotency

import (
	"context"
	"fmt"

	"cartwheel/database"
)

// Keys are the keys of the requests that one transaction answers. They find stored answers and
// repeats, store the new answers, and look them up when the answer to COMMIT was lost.
//
// The calls come in this order: Find, SetAnswer for each new request, Store. A retried transaction
// begins with Find again. Keys belong to one goroutine.
type Keys struct {
	// Repeats has, after Find, the index of each repeat of an earlier request, with that one's
	// index.
	Repeats map[int]int

	requests []Request
	records  []Record // to be stored
	stamp    stamp    // of records
}

// NewKeys returns the keys of these jobs' requests. A request without a key is always new.
func NewKeys[T any](jobs []T, requestOf func(T) Request) *Keys {
	k := &Keys{requests: make([]Request, len(jobs))}
	for i, job := range jobs {
		k.requests[i] = requestOf(job)
	}
	return k
}

// Key returns the key of a request.
func (k *Keys) Key(request int) Key { return k.requests[request].Key }

// Find looks all keys up, in one statement, or in none when no request has a key. It returns the
// known answers: to the requests whose keys are stored as Record.Answer gives them, and ErrMismatch
// to those that have the key of an earlier, different one of the batch. It returns the indexes of
// the new requests, in order. Requests that repeat an earlier one of the batch are in Repeats
// alone.
func (k *Keys) Find(ctx context.Context, tx *database.Tx) (known map[int]error, fresh []int, err error) {
	k.Repeats, k.records = map[int]int{}, nil
	var keys []Key
	for _, r := range k.requests {
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
	for i, r := range k.requests {
		record, isKnown := stored[r.Key]
		earlier, isRepeat := first[r.Key]
		switch {
		case r.Key.None():
			fresh = append(fresh, i)
		case isKnown:
			known[i] = record.Answer(r.Hash)
		case isRepeat && k.requests[earlier] != r:
			known[i] = ErrMismatch
		case isRepeat:
			k.Repeats[i] = earlier
		default:
			first[r.Key] = i
			fresh = append(fresh, i)
		}
	}
	return known, fresh, nil
}

// SetAnswer notes the answer to a request for Store. A status of 0 means that the request is under
// way. It does nothing for a request without a key.
func (k *Keys) SetAnswer(request int, response Response) {
	if r := k.requests[request]; !r.Key.None() {
		k.records = append(k.records, Record{r, response})
	}
}

// Empty reports whether there is nothing to store.
func (k *Keys) Empty() bool { return len(k.records) == 0 }

// Store stores the answers of SetAnswer. It returns ErrRetry of package database when another
// transaction stored one of the keys first; a retry then finds it.
func (k *Keys) Store(ctx context.Context, tx *database.Tx) (err error) {
	if k.Empty() {
		return nil
	}
	if k.stamp, err = now(ctx, tx); err != nil {
		return err
	}
	err = insert(ctx, tx, k.records, k.stamp)
	if database.IsDuplicate(err) {
		return fmt.Errorf("%w: %w", database.ErrRetry, err)
	}
	return err
}

// WasCommitted reports whether the answers of the last Store were committed. It locks their rows,
// and so waits for a COMMIT that is still under way.
func (k *Keys) WasCommitted(ctx context.Context, tx *database.Tx) (bool, error) {
	stored, err := countStored(ctx, tx, k.records, k.stamp)
	return stored > 0 && stored == len(k.records), err
}

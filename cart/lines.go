package cart

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/inventory"
)

const (
	// MaxLines is the maximum of lines to which adds may fill a cart. Restored lines may pass it.
	MaxLines = 500
	// MaxQuantity is the maximum of a line, in units: the column is a 32-bit integer.
	MaxQuantity = math.MaxInt32
	// maxLinesPerTx is the maximum of lines that one transaction buys, except that it always buys
	// one cart. The other checkouts wait for the next transaction, so that a few long carts
	// do not delay everyone.
	maxLinesPerTx = 2048
)

// A ClientLine is a line of a client's cart.
type ClientLine struct {
	ClientID string
	inventory.Line
}

// lineKey is the primary key of client_cart.
type lineKey struct{ clientID, productID string }

func (l ClientLine) key() lineKey { return lineKey{l.ClientID, l.ProductID} }

func compareLines(a, b ClientLine) int {
	return cmp.Or(cmp.Compare(a.ClientID, b.ClientID), cmp.Compare(a.ProductID, b.ProductID))
}

// A Store reads and writes the stored carts. The Checkout Manager removes and restores lines with
// it, inside its transactions.
type Store struct {
	locked database.LockedRows // clients whose lines another transaction keeps locked
}

// Lock locks the clients' carts to the end of the transaction, and returns their lines, by client,
// in the order of their product IDs. The clients come in the order in which they are served: the
// first carts are locked, up to maxLinesPerTx and at least one. The others are deferred: they are
// for another transaction. It waits for locked lines; RefuseLocked finds the carts for which it
// would wait long.
func (s *Store) Lock(ctx context.Context, tx *database.Tx, clientIDs []string) (
	carts map[string][]inventory.Line, deferred map[string]bool, err error,
) {
	carts, fits, err := lockCarts(ctx, tx, clientIDs, maxLinesPerTx)
	if err != nil || fits {
		return carts, nil, err
	}
	counts, err := countLines(ctx, tx, database.SortedUnique(clientIDs), "")
	if err != nil {
		return nil, nil, err
	}
	deferred = map[string]bool{}
	var chosen []string
	lines := 0
	for _, id := range clientIDs {
		switch {
		case slices.Contains(chosen, id) || deferred[id]:
		case lines > 0 && lines+counts[id] > maxLinesPerTx:
			deferred[id] = true
		default:
			chosen = append(chosen, id)
			lines += counts[id]
		}
	}
	// The first pass locked a prefix of all lines in key order. The second goes over it again and
	// on from there: the lock order stays the order of the keys.
	carts, _, err = lockCarts(ctx, tx, chosen, math.MaxInt32)
	return carts, deferred, err
}

// lockCarts locks and reads the carts in the order of their IDs, and reports whether they have at
// most that many lines together. It stops beyond that.
func lockCarts(ctx context.Context, tx *database.Tx, clientIDs []string, most int) (
	carts map[string][]inventory.Line, fits bool, err error,
) {
	carts = map[string][]inventory.Line{}
	clause := fmt.Sprint(" LIMIT ", most+1, tx.ForUpdate())
	total := 0
	for chunk := range slices.Chunk(database.SortedUnique(clientIDs), database.ChunkRows) {
		b := tx.Batch()
		queryCarts(b, chunk, clause, carts)
		if err := b.Send(ctx); err != nil {
			return nil, false, fmt.Errorf("lock carts: %w", err)
		}
		for _, id := range chunk {
			total += len(carts[id])
		}
		if total > most {
			return carts, false, nil
		}
	}
	return carts, true, nil
}

// Remove removes lines from their carts, which the transaction has locked, when the batch is sent.
func (s *Store) Remove(b *database.Batch, lines []ClientLine) { deleteLines(b, sumLines(lines)) }

// Restore puts lines back into their carts when the batch is sent, adding to what was added since.
// It passes MaxLines where it must. It caps each line at MaxQuantity. Once the batch is sent, full
// reports whether a line is that large. Then units may be lost: roll back, and use LockAndRestore.
func (s *Store) Restore(b *database.Batch, lines []ClientLine) (full func() bool) {
	stored := addLines(b, sumLines(lines), noCount)
	return func() bool {
		for _, line := range stored {
			if line.quantity >= MaxQuantity {
				return true
			}
		}
		return false
	}
}

// LockAndRestore is Restore for lines of which one may be full. It returns the units that do not
// fit: other programs raised the line. It sends the batch, with a read that locks the stored lines
// and waits for locked ones. It then adds the restore to the batch, which the caller sends. Two
// transactions that do so may deadlock.
func (s *Store) LockAndRestore(
	ctx context.Context, b *database.Batch, lines []ClientLine,
) (overflow []ClientLine, err error) {
	lines = sumLines(lines)
	before := lockLines(b, lines)
	if err := b.Send(ctx); err != nil {
		return nil, fmt.Errorf("lock cart lines: %w", err)
	}
	for i, line := range lines {
		if room := MaxQuantity - before[line.key()].quantity; line.Quantity > room {
			lines[i].Quantity = room
			line.Quantity -= room
			overflow = append(overflow, line)
		}
	}
	upsertLines(b, lines)
	return overflow, nil
}

// sumLines returns the lines in the primary key's order, with those of one key added up.
func sumLines(lines []ClientLine) []ClientLine {
	lines = slices.Clone(lines)
	slices.SortFunc(lines, compareLines)
	merged := lines[:0]
	for _, line := range lines {
		if last := len(merged) - 1; last >= 0 && compareLines(merged[last], line) == 0 {
			merged[last].Quantity += line.Quantity
			continue
		}
		merged = append(merged, line)
	}
	return merged
}

// Needs are what no other transaction may have locked while a job is done.
type Needs struct {
	Clients [2]string // their carts; empty: none
	Key     idempotency.Key
}

// RefuseLocked calls refuse for each job of a client whose cart, or one of whose keys among the
// jobs, another transaction has locked. It tests suspects alone, as LockSuspects does. A key counts
// only if Clients has its client. It returns the other jobs in the memory of jobs.
func (s *Store) RefuseLocked(
	ctx context.Context, tx *database.Tx, jobs []int, needsOf func(job int) Needs, refuse func(job int, err error),
) ([]int, error) {
	clientIDs := make([]string, 0, len(jobs))
	var keys []idempotency.Key
	for _, job := range jobs {
		needs := needsOf(job)
		for _, id := range needs.Clients {
			if id != "" {
				clientIDs = append(clientIDs, id)
			}
		}
		if !needs.Key.None() {
			keys = append(keys, needs.Key)
		}
	}
	locked, err := s.LockSuspects(ctx, tx, clientIDs, keys)
	if err != nil || len(locked) == 0 {
		return jobs, err
	}
	return slices.DeleteFunc(jobs, func(job int) bool {
		clients := needsOf(job).Clients
		isLocked := locked[clients[0]] || locked[clients[1]]
		if isLocked {
			refuse(job, fmt.Errorf("%w: the cart or its Idempotency-Key", database.ErrRowLocked))
		}
		return isLocked
	}), nil
}

// LockSuspects locks, without waiting, the carts and the given keys of the clients who were found
// locked lately; after a lock wait timed out, those of all clients. It returns the clients of whom
// another transaction has the cart or a key locked.
//
// It asks about each client by itself. One statement over all clients would have to skip rows that
// another transaction has inserted and not committed, and the next INSERT would wait for those.
func (s *Store) LockSuspects(ctx context.Context, tx *database.Tx, clientIDs []string, keys []idempotency.Key) (map[string]bool, error) {
	suspects := database.SortedUnique(clientIDs)
	if !tx.AfterLockTimeout() {
		_, suspects = s.locked.Split(suspects)
	}
	found := map[string]bool{}
	for _, id := range suspects {
		b := tx.Batch()
		queryCarts(b, []string{id}, tx.ForUpdateNoWait(), map[string][]inventory.Line{})
		err := b.Send(ctx)
		for _, key := range keys {
			if err == nil && key.ClientID == id {
				err = idempotency.TryLock(ctx, tx, key)
			}
		}
		locked := database.IsLockNotAvailable(err)
		if err != nil && !locked {
			return nil, err
		}
		s.locked.Found(id, locked)
		if locked {
			found[id] = true
		}
	}
	return found, nil
}

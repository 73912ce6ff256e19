package cart

import (
	"cmp"
	"context"
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
	// maxLockedLines is the maximum of lines that one transaction locks, except that it always
	// locks one cart. The other checkouts wait for the next transaction, so that a few long carts
	// do not delay everyone.
	maxLockedLines = 2048
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
	locked database.LockedKeys // clients whose lines another transaction keeps locked
}

// Carts are the carts of some clients, whose lines this transaction has locked.
type Carts struct {
	lines    map[string][]inventory.Line
	deferred map[string]bool
}

// Lines returns a client's lines in the order of their product IDs.
func (c *Carts) Lines(clientID string) []inventory.Line { return c.lines[clientID] }

// Deferred reports whether the client's cart was left for another transaction, because this one is
// large enough.
func (c *Carts) Deferred(clientID string) bool { return c.deferred[clientID] }

// Clear forgets a client's lines, which this transaction removes.
func (c *Carts) Clear(clientID string) { delete(c.lines, clientID) }

// Lock locks the clients' carts to the end of the transaction. The clients come in the order in
// which they are served: the first carts are locked, up to maxLockedLines and at least one, and the
// others are deferred. It waits for locked lines; FindLocked finds the carts for which it would
// wait long.
func (s *Store) Lock(ctx context.Context, tx *database.Tx, clientIDs []string) (*Carts, error) {
	carts := &Carts{lines: map[string][]inventory.Line{}, deferred: map[string]bool{}}
	fits, err := carts.lock(ctx, tx, clientIDs, maxLockedLines+1)
	if err != nil || fits {
		return carts, err
	}
	counts, err := countLines(ctx, tx, database.SortedUnique(clientIDs), "")
	if err != nil {
		return nil, err
	}
	var chosen []string
	lines := 0
	for _, id := range clientIDs {
		switch {
		case slices.Contains(chosen, id) || carts.deferred[id]:
		case lines > 0 && lines+counts[id] > maxLockedLines:
			carts.deferred[id] = true
		default:
			chosen = append(chosen, id)
			lines += counts[id]
		}
	}
	// The first pass locked a prefix of all lines in key order. The second goes over it again and
	// on from there: the lock order stays the order of the keys.
	clear(carts.lines)
	_, err = carts.lock(ctx, tx, chosen, noLimit)
	return carts, err
}

// lock locks and reads the carts in the order of their IDs, and reports whether all have fewer
// lines than the limit. Beyond the limit it stops.
func (c *Carts) lock(ctx context.Context, tx *database.Tx, clientIDs []string, limit int) (fits bool, err error) {
	total := 0
	for chunk := range slices.Chunk(database.SortedUnique(clientIDs), database.ChunkRows) {
		lines, err := selectCarts(ctx, tx, chunk, tx.ForUpdate(), limit)
		if err != nil {
			return false, err
		}
		for _, line := range lines {
			c.lines[line.ClientID] = append(c.lines[line.ClientID], line.Line)
		}
		if total += len(lines); total >= limit {
			return false, nil
		}
	}
	return true, nil
}

// Remove removes lines from their carts, which the transaction has locked, when the batch is sent.
func (s *Store) Remove(b *database.Batch, lines []ClientLine) { deleteLines(b, mergeLines(lines)) }

// Restore puts lines back into their carts when the batch is sent, adding to what was added since.
// It passes MaxLines where it must. It caps each line at MaxQuantity. Once the batch is sent, full
// reports whether a line is that large. Then units may be lost: roll back, and use LockAndRestore.
func (s *Store) Restore(b *database.Batch, lines []ClientLine) (full func() bool) {
	stored := addLines(b, mergeLines(lines), noCount)
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
// fit: other programs raised the line. It locks the stored lines at once, and waits for locked
// ones. Two transactions that do so may deadlock.
func (s *Store) LockAndRestore(
	ctx context.Context, tx *database.Tx, b *database.Batch, lines []ClientLine,
) (lost []ClientLine, err error) {
	lines = mergeLines(lines)
	before, err := lockLines(ctx, tx, lines)
	if err != nil {
		return nil, err
	}
	for i, line := range lines {
		if room := MaxQuantity - before[line.key()]; line.Quantity > room {
			lines[i].Quantity = room
			line.Quantity -= room
			lost = append(lost, line)
		}
	}
	upsertLines(b, lines)
	return lost, nil
}

// mergeLines returns the lines in the primary key's order, with those of one key added up.
func mergeLines(lines []ClientLine) []ClientLine {
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

// FindLocked returns those of the clients whose cart, or whose key among those given, another
// transaction has locked. It asks about the clients who were found locked lately, or about all
// after a lock wait timed out; then it also locks the free carts. It does not wait.
//
// It asks about each client by itself. One statement over all clients would have to skip rows that
// another transaction has inserted and not committed, and the next INSERT would wait for those.
func (s *Store) FindLocked(ctx context.Context, tx *database.Tx, clientIDs []string, keys []idempotency.Key) (map[string]bool, error) {
	suspects := database.SortedUnique(clientIDs)
	if !tx.AfterLockTimeout() {
		_, suspects = s.locked.Split(suspects)
	}
	found := map[string]bool{}
	for _, id := range suspects {
		_, err := selectCarts(ctx, tx, []string{id}, tx.ForUpdateNoWait(), noLimit)
		for _, key := range keys {
			if err == nil && key.ClientID == id {
				err = idempotency.TryLock(ctx, tx, key)
			}
		}
		locked := database.IsRowLocked(err)
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

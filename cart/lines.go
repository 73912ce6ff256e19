package cart

import (
	"cmp"
	"context"
	"slices"

	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/inventory"
)

// MaxLines is the most lines that adds may fill a cart with. A put-back may pass it.
const MaxLines = 500

// maxLockedLines is the most lines that one transaction locks, one cart's excepted: beyond it the rest waits for
// the next transaction, so that a few large carts do not hold up everyone.
const maxLockedLines = 2048

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

// Lines are the stored carts, for the Checkout Manager: what it takes out and puts back inside its transactions.
type Lines struct {
	taken database.LockedKeys // clients whose lines someone else keeps locked
}

// Carts are some clients' carts, locked.
type Carts struct {
	lines    map[string][]inventory.Line
	deferred map[string]bool
}

// Lines returns a client's lines in the order of their product IDs.
func (c *Carts) Lines(clientID string) []inventory.Line { return c.lines[clientID] }

// Deferred reports that the client's cart was left for another transaction, because this one is large enough.
func (c *Carts) Deferred(clientID string) bool { return c.deferred[clientID] }

// Empty forgets a client's lines, which were taken out.
func (c *Carts) Empty(clientID string) { delete(c.lines, clientID) }

// Lock locks the clients' carts to the end of the transaction, in the order of their IDs. It waits for lines that
// are locked; the carts that are known for that were left out before, by TakenOf.
func (l *Lines) Lock(ctx context.Context, tx *database.Tx, clientIDs []string) (*Carts, error) {
	carts := &Carts{lines: map[string][]inventory.Line{}, deferred: map[string]bool{}}
	return carts, l.lock(ctx, tx, sortedUnique(clientIDs), carts)
}

// lock locks as many carts as the limit lets it, one at least, and defers the others.
func (l *Lines) lock(ctx context.Context, tx *database.Tx, ids []string, carts *Carts) error {
	room := maxLockedLines
	for chunk := range slices.Chunk(ids, database.ChunkRows) {
		if room <= 0 {
			deferAll(carts, chunk)
			continue
		}
		lines, err := selectCarts(ctx, tx, chunk, tx.ForUpdate(), room+1)
		if err != nil {
			return err
		}
		if len(lines) > room { // the last cart may be cut: it and what follows it waits, unless it is the only one
			cut := lines[len(lines)-1].ClientID
			at := slices.Index(chunk, cut)
			whole := slices.IndexFunc(lines, func(line ClientLine) bool { return line.ClientID == cut })
			lines = lines[:whole]
			if whole == 0 && len(carts.lines) == 0 {
				if lines, err = selectCarts(ctx, tx, []string{cut}, tx.ForUpdate(), noLimit); err != nil {
					return err
				}
				at++
			}
			deferAll(carts, chunk[at:])
			room = 0
		}
		room -= len(lines)
		for _, line := range lines {
			carts.lines[line.ClientID] = append(carts.lines[line.ClientID], line.Line)
		}
	}
	return nil
}

func deferAll(carts *Carts, ids []string) {
	for _, id := range ids {
		carts.deferred[id] = true
	}
}

// Take takes lines out of their carts, which the transaction has locked.
func (l *Lines) Take(b *database.Batch, lines []ClientLine) { deleteLines(b, mergeLines(lines)) }

// PutBack puts lines into their carts, adding to what has come since. It passes MaxLines where it must. It waits
// for lines that are locked.
func (l *Lines) PutBack(b *database.Batch, lines []ClientLine) { upsertLines(b, mergeLines(lines)) }

// Of returns a client's cart as it is committed now. It locks nothing.
func (l *Lines) Of(ctx context.Context, tx *database.Tx, clientID string) ([]inventory.Line, error) {
	lines, err := selectCarts(ctx, tx, []string{clientID}, "", noLimit)
	out := make([]inventory.Line, len(lines))
	for i, line := range lines {
		out[i] = line.Line
	}
	return out, err
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

// TakenOf returns those of the clients whose cart, or whose key among those given, someone else keeps locked. It asks
// only about clients of whom that is suspected, or about all once a lock was waited for in vain; then it locks what is
// free. It waits for none.
//
// Each client is asked about by itself: a statement over all would have to leave out rows that another transaction
// has inserted and not committed, and the next insert would wait for those.
func (l *Lines) TakenOf(ctx context.Context, tx *database.Tx, clientIDs []string, keys []idempotency.Key) (map[string]bool, error) {
	suspects := sortedUnique(clientIDs)
	if !tx.AfterLockWait() {
		_, suspects = l.taken.Split(suspects)
	}
	found := map[string]bool{}
	for _, id := range suspects {
		_, err := selectCarts(ctx, tx, []string{id}, tx.ForUpdateNoWait(), noLimit)
		for _, key := range keys {
			if err == nil && key.ClientID == id {
				err = idempotency.Probe(ctx, tx, key)
			}
		}
		taken := database.IsRowLocked(err)
		if err != nil && !taken {
			return nil, err
		}
		l.taken.Found(id, taken)
		if taken {
			found[id] = true
		}
	}
	return found, nil
}

func sortedUnique(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

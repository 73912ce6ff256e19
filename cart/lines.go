package cart

import (
	"cmp"
	"context"
	"slices"

	"cartwheel/database"
	"cartwheel/inventory"
)

// MaxLines is the most lines that adds may fill a cart with. A put-back may pass it.
const MaxLines = 500

// maxLockedLines is the most lines that one transaction locks, one cart's excepted: beyond it the rest waits for
// the next transaction, so that a few large carts do not hold up everyone.
const maxLockedLines = 2048

// askCarts is how many carts one statement asks for: full ones, of which nobody knows before, come to the same limit.
const askCarts = maxLockedLines / MaxLines

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
	taken database.Taken // clients whose lines someone else keeps locked
}

// Carts are some clients' carts, locked.
type Carts struct {
	lines    map[string][]inventory.Line
	deferred map[string]bool
	taken    map[string]bool
}

// Lines returns a client's lines in the order of their product IDs.
func (c *Carts) Lines(clientID string) []inventory.Line { return c.lines[clientID] }

// Deferred reports that the client's cart was left for another transaction, because this one is large enough.
func (c *Carts) Deferred(clientID string) bool { return c.deferred[clientID] }

// Taken reports that someone else keeps lines of this cart locked.
func (c *Carts) Taken(clientID string) bool { return c.taken[clientID] }

// Empty forgets a client's lines, which were taken out.
func (c *Carts) Empty(clientID string) { delete(c.lines, clientID) }

// Lock locks the clients' carts to the end of the transaction, in the order of their IDs. It waits for lines that
// are locked, but not again for carts that were waited for in vain.
func (l *Lines) Lock(ctx context.Context, tx *database.Tx, clientIDs []string) (*Carts, error) {
	ids := slices.Clone(clientIDs)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	carts := &Carts{lines: map[string][]inventory.Line{}, deferred: map[string]bool{}, taken: map[string]bool{}}
	wait, ask := l.taken.Split(ids)
	if tx.AfterLockWait() {
		wait, ask = nil, ids
	}
	room, err := l.lock(ctx, tx, wait, carts)
	if err != nil {
		return nil, err
	}
	if err := l.ask(ctx, tx, ask, room, carts); err != nil {
		return nil, err
	}
	return carts, nil
}

// lock locks as many carts as the limit lets it, one at least, and defers the others. It returns how many more lines
// may be locked.
func (l *Lines) lock(ctx context.Context, tx *database.Tx, ids []string, carts *Carts) (room int, err error) {
	room = maxLockedLines
	for chunk := range slices.Chunk(ids, database.ChunkRows) {
		if room <= 0 {
			deferAll(carts, chunk)
			continue
		}
		lines, err := selectCarts(ctx, tx, chunk, tx.ForUpdate(), room+1)
		if err != nil {
			return 0, err
		}
		if len(lines) > room { // the last cart may be cut: it and what follows it waits, unless it is the only one
			cut := lines[len(lines)-1].ClientID
			at := slices.Index(chunk, cut)
			whole := slices.IndexFunc(lines, func(line ClientLine) bool { return line.ClientID == cut })
			lines = lines[:whole]
			if whole == 0 && len(carts.lines) == 0 {
				if lines, err = selectCarts(ctx, tx, []string{cut}, tx.ForUpdate(), noLimit); err != nil {
					return 0, err
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
	return room, nil
}

func deferAll(carts *Carts, ids []string) {
	for _, id := range ids {
		carts.deferred[id] = true
	}
}

// ask locks the carts all of whose lines are free, as long as there is room for lines, and finds the others taken.
func (l *Lines) ask(ctx context.Context, tx *database.Tx, ids []string, room int, carts *Carts) error {
	for chunk := range slices.Chunk(ids, askCarts) {
		if room <= 0 {
			deferAll(carts, chunk)
			continue
		}
		free, err := selectCarts(ctx, tx, chunk, tx.ForFree(), noLimit)
		if err != nil {
			return err
		}
		all, err := selectCarts(ctx, tx, chunk, "", noLimit)
		if err != nil {
			return err
		}
		room -= len(free)
		locked := make(map[lineKey]bool, len(free))
		for _, line := range free {
			locked[line.key()] = true
			carts.lines[line.ClientID] = append(carts.lines[line.ClientID], line.Line)
		}
		for _, line := range all {
			if !locked[line.key()] {
				carts.taken[line.ClientID] = true
			}
		}
		for _, id := range chunk {
			l.taken.Found(id, carts.taken[id])
		}
	}
	return nil
}

// Take takes lines out of their carts, which the transaction has locked.
func (l *Lines) Take(ctx context.Context, tx *database.Tx, lines []ClientLine) error {
	return deleteLines(ctx, tx, mergeLines(lines))
}

// PutBack puts lines into their carts, adding to what has come since. It passes MaxLines where it must. It waits
// for lines that are locked.
func (l *Lines) PutBack(ctx context.Context, tx *database.Tx, lines []ClientLine) error {
	return upsertLines(ctx, tx, mergeLines(lines))
}

// Contended reports whether lines of any of the clients were lately found locked by someone else.
func (l *Lines) Contended(clientIDs []string) bool {
	_, ask := l.taken.Split(clientIDs)
	return len(ask) > 0
}

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

// TakenOf returns the clients some of whose lines, among those given, someone else keeps locked; the others' lines
// it locks. It waits for none.
func (l *Lines) TakenOf(ctx context.Context, tx *database.Tx, lines []ClientLine) (map[string]bool, error) {
	taken := map[string]bool{}
	if len(lines) == 0 {
		return taken, nil
	}
	lines = mergeLines(lines)
	locked, err := lockFree(ctx, tx, lines)
	if err != nil {
		return nil, err
	}
	there, err := selectLines(ctx, tx, lines)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if _, exists := there[line.key()]; exists && !locked[line.key()] {
			taken[line.ClientID] = true
		}
	}
	for _, line := range lines {
		l.taken.Found(line.ClientID, taken[line.ClientID])
	}
	return taken, nil
}

package cart

import (
	"context"
	"fmt"
	"slices"

	"cartwheel/database"
	"cartwheel/inventory"
)

// edit applies a batch that has other changes than adds, or large ones. It locks and reads the
// carts first, makes the changes in memory, one after the other, and writes the differences.
func (t *changeTx) edit(ctx context.Context, tx *database.Tx) error {
	var clients, products []string
	for _, i := range t.remaining {
		clients = append(clients, t.jobs[i].ClientID)
		if t.jobs[i].kind == kindMerge {
			clients = append(clients, t.jobs[i].from)
		}
		if t.jobs[i].ProductID != "" {
			products = append(products, t.jobs[i].ProductID)
		}
	}
	carts, read := map[string][]inventory.Line{}, tx.Batch()
	queryCarts(read, database.SortedUnique(clients), tx.ForUpdate(), carts)
	stock := t.m.stock.ReadLevels(read, products)
	if err := read.Send(ctx); err != nil {
		return fmt.Errorf("lock the carts and check the stock: %w", err)
	}
	e := edited{lines: map[lineKey]*editedLine{}, carts: map[string][]*editedLine{}}
	for id, lines := range carts {
		for _, stored := range lines {
			line := e.line(lineKey{id, stored.ProductID})
			line.before, line.now = stored.Quantity, stored.Quantity
		}
	}
	for _, i := range t.remaining {
		t.answers[i].Err = e.apply(t.jobs[i], stock)
	}
	if err := t.recordKeyAnswers(e.changed()); err != nil {
		return err
	}
	return e.write(ctx, tx)
}

// edited are carts that a transaction has locked, with what it does to them.
type edited struct {
	lines map[lineKey]*editedLine
	carts map[string][]*editedLine // by client
}

// An editedLine is a line before and after the changes, in units; 0 is no line.
type editedLine struct {
	key         lineKey
	before, now int64
}

// line returns a line, a new one of 0 units where there was none.
func (e edited) line(key lineKey) *editedLine {
	line := e.lines[key]
	if line == nil {
		line = &editedLine{key: key}
		e.lines[key] = line
		e.carts[key.clientID] = append(e.carts[key.clientID], line)
	}
	return line
}

// count returns the number of lines in a client's cart.
func (e edited) count(clientID string) (lines int) {
	for _, line := range e.carts[clientID] {
		if line.now > 0 {
			lines++
		}
	}
	return lines
}

// apply makes one change, all of it or nothing, and returns its answer.
func (e edited) apply(c change, stock *inventory.Stock) error {
	switch c.kind {
	case kindEmpty:
		for _, line := range e.carts[c.ClientID] {
			line.now = 0
		}
		return nil
	case kindMerge:
		return e.merge(c.from, c.ClientID)
	default:
		line := e.line(lineKey{c.ClientID, c.ProductID})
		after := c.Quantity
		if c.kind == kindAdd {
			after += line.now
		}
		if after > line.now { // lowering never fails
			if err := checkRaise(stock, c.ProductID, line.now, after, e.count(c.ClientID)); err != nil {
				return err
			}
		}
		line.now = after
		return nil
	}
}

// merge moves all lines of one cart into another.
func (e edited) merge(from, to string) error {
	lines := e.count(to)
	grows := false
	for _, line := range e.carts[from] {
		there := e.line(lineKey{to, line.key.productID}).now
		if line.now > 0 && there == 0 {
			lines++
			grows = true
		}
		if there > MaxQuantity-line.now {
			return ErrTooManyLines
		}
	}
	if grows && lines > MaxLines {
		return ErrTooManyLines
	}
	for _, line := range e.carts[from] {
		e.line(lineKey{to, line.key.productID}).now += line.now
		line.now = 0
	}
	return nil
}

func (e edited) changed() bool {
	for _, line := range e.lines {
		if line.now != line.before {
			return true
		}
	}
	return false
}

// write writes what has changed. It returns database.ErrRetry where another transaction has
// inserted a line since the carts were read: a line that did not exist could not be locked.
func (e edited) write(ctx context.Context, tx *database.Tx) error {
	var raised, lowered, removed []ClientLine
	for key, line := range e.lines {
		written := ClientLine{key.clientID, inventory.Line{ProductID: key.productID, Quantity: line.now}}
		switch {
		case line.now > line.before:
			written.Quantity -= line.before
			raised = append(raised, written)
		case line.now == 0 && line.before > 0:
			removed = append(removed, written)
		case line.now < line.before:
			lowered = append(lowered, written)
		}
	}
	for _, lines := range [][]ClientLine{raised, lowered, removed} {
		slices.SortFunc(lines, compareLines)
	}
	batch := tx.Batch()
	stored := addLines(batch, raised, noCount)
	setLines(batch, lowered)
	deleteLines(batch, removed)
	if err := batch.Send(ctx); err != nil {
		return fmt.Errorf("change cart lines: %w", err)
	}
	for key, line := range stored {
		if line.quantity != e.lines[key].now {
			return database.ErrRetry
		}
	}
	return nil
}

package cart

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"cartwheel/database"
	"cartwheel/inventory"
)

const (
	// exactCountFrom is the number of lines from which on a cart is counted under locks.
	exactCountFrom = MaxLines / 2
	// maxUncounted is the maximum of new lines that a batch makes in one cart without counting it
	// under locks. What up to 30 instances add at once, without seeing each other's lines, does not
	// bring a cart past MaxLines.
	maxUncounted = 8
	// largeQuantity is the maximum of units that a batch adds to a line without reading it first.
	largeQuantity = MaxQuantity / 2
)

// addedLines are the lines that a batch adds to. lineCounts and quantities start as before the
// batch, and grow with each accepted add.
type addedLines struct {
	wanted     []ClientLine           // what the remaining jobs add, merged and sorted
	stored     map[lineKey]storedLine // each line, with every add of the batch
	lineCounts map[string]int         // the number of lines of each client's cart
	quantities map[lineKey]int64      // the units of each line
}

// lines returns what jobs add, merged and sorted.
func (t *changeTx) lines(jobs []int) []ClientLine {
	lines := make([]ClientLine, 0, len(jobs))
	for _, i := range jobs {
		lines = append(lines, t.jobs[i].line())
	}
	return sumLines(lines)
}

// upsertAndReadStock adds the wanted lines, and reads the stock of their products. It takes one
// round trip to MariaDB, and two to MySQL.
//
// The statement caps a line at MaxQuantity. Its old quantity is then not the stored one less the
// added one. Where a line is that large, the transaction is retried and reads first.
func (t *changeTx) upsertAndReadStock(
	ctx context.Context, tx *database.Tx, wanted []ClientLine,
) (*addedLines, *inventory.Stock, error) {
	products := database.IDs(wanted, func(line ClientLine) string { return line.ProductID })
	batch := tx.Batch()
	stored := addLines(batch, wanted, countOf)
	stock := t.m.stock.ReadLevels(batch, products)
	if err := batch.Send(ctx); err != nil {
		return nil, nil, fmt.Errorf("add to cart lines: %w", err)
	}
	for _, line := range stored {
		if line.quantity >= MaxQuantity {
			t.readFirst = true
			return nil, nil, database.ErrRetry
		}
	}
	return &addedLines{wanted: wanted, stored: stored}, stock, nil
}

// decide answers the remaining jobs in turn and returns those that it refused.
func (t *changeTx) decide(
	ctx context.Context, tx *database.Tx, added *addedLines, stock *inventory.Stock,
) (refused []int, err error) {
	if err := added.count(ctx, tx, added.subtractAdded()); err != nil {
		return nil, err
	}
	for _, i := range t.remaining {
		if t.answers[i].Err = added.accept(t.jobs[i], stock); t.answers[i].Err != nil {
			refused = append(refused, i)
		}
	}
	return refused, nil
}

// subtractAdded sets the lines' quantities to those before the batch, and returns how many lines
// the batch created in each cart.
func (added *addedLines) subtractAdded() (created map[string]int) {
	added.quantities = make(map[lineKey]int64, len(added.wanted))
	created = map[string]int{}
	for _, line := range added.wanted {
		before := added.stored[line.key()].quantity - line.Quantity
		if before <= 0 {
			created[line.ClientID]++
		}
		added.quantities[line.key()] = before
	}
	return created
}

// count sets lineCounts to the carts' lines without those that the batch created.
func (added *addedLines) count(ctx context.Context, tx *database.Tx, created map[string]int) error {
	counts := make(map[string]int, len(added.wanted))
	var long []string
	for _, line := range added.wanted {
		count := added.stored[line.key()].cartLines
		counts[line.ClientID] = count
		if count >= exactCountFrom || created[line.ClientID] > maxUncounted {
			long = append(long, line.ClientID)
		}
	}
	if len(long) > 0 {
		exact, err := countLines(ctx, tx, slices.Compact(long), tx.ForUpdate())
		if err != nil {
			return err
		}
		maps.Copy(counts, exact)
	}
	for client, n := range created {
		counts[client] -= n
	}
	added.lineCounts = counts
	return nil
}

// accept counts a job's units, or returns why the job is refused.
func (added *addedLines) accept(job change, stock *inventory.Stock) error {
	key := job.line().key()
	before := added.quantities[key]
	after := before + job.Quantity
	if err := checkRaise(stock, job.ProductID, before, after, added.lineCounts[job.ClientID]); err != nil {
		return err
	}
	if before <= 0 {
		added.lineCounts[job.ClientID]++
	}
	added.quantities[key] = after
	return nil
}

// checkRaise returns why a line must not be raised from one quantity to another, in a cart with
// this number of lines.
func checkRaise(stock *inventory.Stock, productID string, before, after int64, lines int) error {
	level, exists := stock.Level(productID)
	switch {
	case !exists:
		return &inventory.NoProductError{ProductID: productID}
	case before <= 0 && lines >= MaxLines:
		return ErrTooManyLines
	case after > level.Available() || after > MaxQuantity:
		return &inventory.NotEnoughError{ProductID: productID, Wanted: after, Available: level.Available()}
	}
	return nil
}

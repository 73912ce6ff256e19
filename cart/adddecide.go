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
	// nearLimit is the number of lines from which on a cart is counted under locks.
	nearLimit = MaxLines / 2
	// maxUncounted is the maximum of new lines that a batch makes in one cart without counting it
	// under locks. What up to 30 instances add at once, without seeing each other's lines, does not
	// bring a cart past MaxLines.
	maxUncounted = 8
	// largeQuantity is the quantity, in units, from which on a line is read before it is added to.
	largeQuantity = MaxQuantity / 2
)

// addedLines are the lines that a batch adds to.
//
// The database silently caps a line at MaxQuantity. Its old quantity is then not the stored one
// less the added one, so the line must be read first. The batch does so for large quantities. Where
// it did not, and finds a line at MaxQuantity, the transaction is retried and reads all lines
// first.
type addedLines struct {
	wanted      []ClientLine           // what the undecided jobs add, merged and sorted
	read        map[lineKey]int64      // quantities that were read first
	stored      map[lineKey]storedLine // as they are stored after the batch
	addedToRead map[lineKey]int64      // units that were added to the lines that were read first
	lineCounts  map[string]int         // lines of each cart, before the batch, then with the accepted jobs
	// quantity has the lines without the batch, then with the accepted jobs.
	quantity map[lineKey]int64
}

// upsertAndCheck adds what the undecided jobs want, and reads the stock of their products in the
// same round trip.
func (b *changeBatch) upsertAndCheck(ctx context.Context, tx *database.Tx) (*addedLines, *inventory.Stock, error) {
	lines := make([]ClientLine, 0, len(b.undecided))
	for _, i := range b.undecided {
		lines = append(lines, b.jobs[i].line())
	}
	added := &addedLines{wanted: mergeLines(lines), read: map[lineKey]int64{}, addedToRead: map[lineKey]int64{}}
	var clients []string
	for _, line := range added.wanted {
		if b.readFirst || line.Quantity > largeQuantity {
			clients = append(clients, line.ClientID)
			added.read[line.key()] = 0
		}
	}
	carts, err := selectCarts(ctx, tx, slices.Compact(clients), tx.ForUpdate(), noLimit)
	if err != nil {
		return nil, nil, err
	}
	for _, line := range carts {
		if _, ok := added.read[line.key()]; ok {
			added.read[line.key()] = line.Quantity
		}
	}
	written := slices.Clone(added.wanted)
	products := make([]string, len(written))
	for i, line := range written {
		products[i] = line.ProductID
		if before, ok := added.read[line.key()]; ok {
			written[i].Quantity = min(line.Quantity, MaxQuantity-before)
			added.addedToRead[line.key()] = written[i].Quantity
		}
	}
	batch := tx.Batch()
	added.stored = addLines(batch, written, countOf)
	stock := b.stock.Check(batch, products)
	if err := batch.Send(ctx); err != nil {
		return nil, nil, fmt.Errorf("add to cart lines: %w", err)
	}
	return added, stock, nil
}

// decide answers the undecided jobs in turn and returns those that it refused.
func (b *changeBatch) decide(
	ctx context.Context, tx *database.Tx, added *addedLines, stock *inventory.Stock,
) (refused []int, err error) {
	fresh, err := b.quantitiesBefore(added)
	if err != nil {
		return nil, err
	}
	if err := added.count(ctx, tx, fresh); err != nil {
		return nil, err
	}
	for _, i := range b.undecided {
		if b.answers[i].Err = added.accept(b.jobs[i], stock); b.answers[i].Err != nil {
			refused = append(refused, i)
		}
	}
	return refused, nil
}

// quantitiesBefore finds the lines' quantities before the batch, and returns how many lines the
// batch made in each cart.
func (b *changeBatch) quantitiesBefore(added *addedLines) (fresh map[string]int, err error) {
	added.quantity = make(map[lineKey]int64, len(added.wanted))
	fresh = map[string]int{}
	for _, line := range added.wanted {
		stored := added.stored[line.key()].quantity
		before := stored - line.Quantity
		if read, ok := added.read[line.key()]; ok {
			if before = read; stored != read+added.addedToRead[line.key()] {
				return nil, database.ErrRetry // another transaction inserted the line after it was read
			}
		} else if stored >= MaxQuantity {
			b.readFirst = true
			return nil, database.ErrRetry
		}
		if before <= 0 {
			fresh[line.ClientID]++
		}
		added.quantity[line.key()] = before
	}
	return fresh, nil
}

// count counts the lines of each cart without those that the batch made.
func (added *addedLines) count(ctx context.Context, tx *database.Tx, fresh map[string]int) error {
	added.lineCounts = make(map[string]int, len(added.wanted))
	var long []string
	for _, line := range added.wanted {
		count := added.stored[line.key()].cartLines
		added.lineCounts[line.ClientID] = count
		if count >= nearLimit || fresh[line.ClientID] > maxUncounted {
			long = append(long, line.ClientID)
		}
	}
	if len(long) > 0 {
		exact, err := countLines(ctx, tx, slices.Compact(long), tx.ForUpdate())
		if err != nil {
			return err
		}
		maps.Copy(added.lineCounts, exact)
	}
	for client, made := range fresh {
		added.lineCounts[client] -= made
	}
	return nil
}

// accept counts a job's units, or returns why the job is refused.
func (added *addedLines) accept(job change, stock *inventory.Stock) error {
	key := job.line().key()
	before := added.quantity[key]
	after := before + job.Quantity
	if err := checkRaise(stock, job.ProductID, before, after, added.lineCounts[job.ClientID]); err != nil {
		return err
	}
	if before <= 0 {
		added.lineCounts[job.ClientID]++
	}
	added.quantity[key] = after
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

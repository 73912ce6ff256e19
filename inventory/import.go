package inventory

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"time"

	"cartwheel/database"
)

const (
	// importChunk is the most rows that one transaction of an import takes: few enough that nobody waits long for it. Many
	// enough, because each costs the embedded engine's server what it has in memory of the file.
	importChunk = 500
	// maxListedBad is the most bad rows that an ImportReport lists.
	maxListedBad = 100
	// importPatience is how long an import tries one chunk again when the database is away, busy, or has a row locked.
	importPatience = 30 * time.Second
	// importRetry is the pause before such a try.
	importRetry = 100 * time.Millisecond
)

// An Import says what becomes of a file's rows.
type Import struct {
	// Add adds the quantities, which may be negative, to what is on hand. Otherwise they are what is on hand.
	Add bool
	// DryRun judges every row and writes nothing. It remembers each product of the file, in some 40 bytes.
	DryRun bool
	// Header is called once with the file's columns, in its order, without ReasonColumn. nil: not called.
	Header func(columns string)
	// Bad is called for every bad row, in the order of the file; its error stops the import. nil: not called.
	Bad func(BadRow) error
	// Progress is called after every few hundred rows with the report so far. nil: not called.
	Progress func(ImportReport)
}

// A BadRow is a line of an import file that was not taken.
type BadRow struct {
	Line   int    // counted from 1; the header is the first
	Reason string // for people
	Text   string // the line as it stands in the file, without an earlier reason
}

// An ImportReport says what became of an import. Of a dry run it says what would have.
type ImportReport struct {
	Line   int      // up to this line of the file everything is decided
	Rows   int      // rows that were decided; empty lines are none
	Taken  int      // of these
	Bad    int      // of these
	Listed []BadRow // the first 100 bad rows
	Net    int64    // units by which what is on hand was changed, all products together
	// NetUncertain says that Net may miss some units: a chunk was set again because the database went away when it
	// had been set once. What is on hand is what the file says all the same.
	NetUncertain bool
}

// Import takes the rows of a CSV file with the header ImportHeader, which ReasonColumn may follow. A product that does not exist is created; an empty
// name leaves the name as it is. A product that comes twice is set, or added to, twice. Bad rows are left out: those
// that are malformed, and those that would bring on hand below what is reserved, below 0, or above MaxOnHand.
//
// It blocks until all is read and decided. It works in small transactions with pauses between them, and is safe
// beside everything else that works on the stock, other imports included. When ctx ends it stops between two of
// them. The report is good with an error, too: the rows up to its Line are done, and may be left out of a repeat.
//
// A repeat is harmless unless how.Add. With how.Add nothing is added twice: when the database goes away in the middle
// of a commit, the import stops, and the error says of which lines it is unknown whether they were added.
//
// Errors: those of reading the file, of how.Bad, and of ctx; a header that is none; database.ErrUnavailable;
// database.ErrOutcomeUnknown.
func (m *Manager) Import(ctx context.Context, file io.Reader, how Import) (ImportReport, error) {
	return m.importWith(ctx, file, how, importPatience)
}

func (m *Manager) importWith(ctx context.Context, file io.Reader, how Import, patience time.Duration) (ImportReport, error) {
	im := &importing{
		m: m, how: how, patience: patience, pace: pace{embedded: m.db.Embedded()},
		seed: maphash.MakeSeed(), onHand: map[uint64]int64{},
	}
	rows, err := openImport(file)
	if err != nil {
		return im.report, fmt.Errorf("import: %w", err)
	}
	im.report.Line = rows.line
	if how.Header != nil {
		how.Header(rows.header)
	}
	for {
		chunk, err := readChunk(rows)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return im.report, fmt.Errorf("import: stopped after line %d: %w", im.report.Line, err)
		}
		if len(chunk) == 0 {
			im.report.Line = rows.line
			return im.report, nil
		}
		started := time.Now()
		if err := im.take(ctx, chunk); err != nil {
			return im.report, fmt.Errorf("import: %w", err)
		}
		if how.Progress != nil {
			how.Progress(im.report)
		}
		if pause := im.pace.pause(len(chunk), im.waited, time.Since(started)); !how.DryRun {
			wait(ctx, pause)
		}
	}
}

// readChunk reads the rows of one transaction, none at the file's end.
func readChunk(rows *importFile) ([]importRow, error) {
	chunk := make([]importRow, 0, importChunk)
	for len(chunk) < importChunk {
		row, err := rows.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		chunk = append(chunk, row)
	}
	return chunk, nil
}

// importing is one import under way. It belongs to one goroutine.
type importing struct {
	m        *Manager
	how      Import
	patience time.Duration // for one chunk
	report   ImportReport
	waited   time.Duration // for its turn, by the last chunk
	pace     pace

	// A dry run's: what would be on hand of the products that came before, by the hash of their IDs under seed. Two
	// in 10 million products collide with a probability of 1 in 300,000.
	seed   maphash.Seed
	onHand map[uint64]int64
}

// take decides a chunk's rows and reports them.
func (im *importing) take(ctx context.Context, chunk []importRow) error {
	var open []*importRow
	for i := range chunk {
		if chunk[i].reason == "" {
			open = append(open, &chunk[i])
		}
	}
	for started := time.Now(); len(open) > 0; {
		left, err := im.transact(ctx, open)
		lines := fmt.Sprintf("lines %d to %d", open[0].line, open[len(open)-1].line)
		patient := time.Since(started) < im.patience && ctx.Err() == nil
		switch {
		case errors.Is(err, database.ErrOutcomeUnknown) && im.how.Add:
			return fmt.Errorf("it is not known whether %s were added; what follows was not: %w", lines, err)
		case errors.Is(err, database.ErrOutcomeUnknown):
			im.report.NetUncertain = true
			fallthrough
		case errors.Is(err, database.ErrUnavailable), errors.Is(err, database.ErrRowLocked):
			if !patient {
				return fmt.Errorf("%s were not taken, nor what follows: %w", lines, errors.Join(err, ctx.Err()))
			}
		case err != nil:
			return fmt.Errorf("%s were not taken, nor what follows: %w", lines, err)
		default:
			open = left
			if !patient {
				refuse(open, "the product's row is locked by someone else")
				open = nil
			}
		}
		if len(open) > 0 {
			wait(ctx, importRetry)
		}
	}
	return im.account(chunk)
}

func refuse(rows []*importRow, reason string) {
	for _, row := range rows {
		row.reason = reason
	}
}

// account reports a chunk whose rows are all decided.
func (im *importing) account(chunk []importRow) error {
	r := &im.report
	for _, row := range chunk {
		r.Rows++
		r.Line = row.line
		if row.reason == "" {
			r.Taken++
			continue
		}
		r.Bad++
		bad := BadRow{row.line, row.reason, row.text}
		if len(r.Listed) < maxListedBad {
			r.Listed = append(r.Listed, bad)
		}
		if im.how.Bad == nil {
			continue
		}
		if err := im.how.Bad(bad); err != nil {
			return fmt.Errorf("report line %d: %w", row.line, err)
		}
	}
	return nil
}

// transact decides rows and writes what they change, in one transaction. It returns the rows whose products someone
// else keeps locked; the others are decided.
func (im *importing) transact(ctx context.Context, rows []*importRow) ([]*importRow, error) {
	var d decided
	err := im.transaction(ctx, func(tx *database.Tx) error {
		stock, err := im.stock(ctx, tx, rows)
		if err != nil {
			return err
		}
		d = decide(rows, stock, im.how.Add)
		if len(d.changes) == 0 || im.how.DryRun {
			return errNothingToImport
		}
		return writeChanges(ctx, tx, d.changes, im.how.Add)
	})
	if err != nil && !errors.Is(err, errNothingToImport) {
		return nil, err
	}
	for i, row := range rows {
		row.reason = d.reasons[i]
	}
	for _, c := range d.changes {
		im.report.Net += c.after - c.before
		if im.how.DryRun {
			im.onHand[maphash.String(im.seed, c.productID)] = c.after
		}
	}
	return d.left, nil
}

// errNothingToImport ends a transaction that has nothing to commit.
var errNothingToImport = errors.New("nothing to import")

// transaction runs work so that the end of ctx does not break it off.
func (im *importing) transaction(ctx context.Context, work func(*database.Tx) error) error {
	ctx = context.WithoutCancel(ctx) // a transaction is short, and its time is bounded
	if im.how.DryRun {
		return im.m.db.Read(ctx, work)
	}
	asked := time.Now()
	// What a lost commit wrote cannot be told from what others wrote since: there is nothing to look for.
	return im.m.db.Transact(ctx, func(tx *database.Tx) error {
		im.waited = time.Since(asked)
		return work(tx)
	}, nil)
}

// stock returns the stock of the rows' products, locked unless it is a dry run. Those that do not exist have none,
// but may be reserved: someone may have deleted a product by hand.
func (im *importing) stock(ctx context.Context, tx *database.Tx, rows []*importRow) (*Stock, error) {
	ids := make([]string, 0, len(rows))
	for _, row := range rows {
		ids = append(ids, row.productID)
	}
	b := tx.Batch()
	var stock *Stock
	var err error
	if im.how.DryRun {
		stock = im.m.Check(b, ids)
		err = b.Send(ctx)
	} else {
		stock, err = im.m.Lock(ctx, tx, ids)
	}
	if err != nil {
		return nil, fmt.Errorf("read stock: %w", err)
	}
	var missing []string
	for _, id := range sortedUnique(ids) {
		if stock.levels[id] == nil && !stock.locked[id] {
			missing = append(missing, id)
			stock.levels[id] = &Level{}
		}
		if onHand, came := im.onHand[maphash.String(im.seed, id)]; came && im.how.DryRun {
			stock.levels[id].OnHand = onHand
		}
	}
	stock.missing = missing
	queryReserved(b, missing, stock)
	if err := b.Send(ctx); err != nil {
		return nil, fmt.Errorf("read stock: %w", err)
	}
	return stock, nil
}

// A change is what the rows of one product do to it.
type change struct {
	productID     string
	name          string // empty: stays
	create        bool
	before, after int64 // units on hand
}

// decided is what became of some rows.
type decided struct {
	reasons []string     // for each row; empty: it is taken
	left    []*importRow // those whose product's row someone else keeps locked
	changes []change     // in the order of the products' IDs
}

// decide judges rows in turn.
func decide(rows []*importRow, stock *Stock, add bool) decided {
	d := decided{reasons: make([]string, len(rows))}
	changes := make(map[string]*change, len(rows))
	for i, row := range rows {
		if stock.locked[row.productID] {
			d.left = append(d.left, row)
			continue
		}
		level := stock.levels[row.productID]
		after := row.quantity
		if add {
			after += level.OnHand
		}
		switch {
		case after < 0:
			d.reasons[i] = fmt.Sprintf("would bring on hand to %d, below 0", after)
			continue
		case after < level.Reserved:
			d.reasons[i] = fmt.Sprintf("would bring on hand to %d, below the %d reserved by checkouts in flight", after, level.Reserved)
			continue
		case after > MaxOnHand:
			d.reasons[i] = fmt.Sprintf("would bring on hand to %d, above %d", after, MaxOnHand)
			continue
		}
		c := changes[row.productID]
		if c == nil {
			_, missing := slices.BinarySearch(stock.missing, row.productID)
			c = &change{productID: row.productID, create: missing, before: level.OnHand}
			changes[row.productID] = c
		}
		if row.name != "" {
			c.name = row.name
		}
		c.after, level.OnHand = after, after
	}
	for _, c := range changes {
		d.changes = append(d.changes, *c)
	}
	slices.SortFunc(d.changes, func(a, b change) int { return compare(a.productID, b.productID) })
	return d
}

// writeChanges writes what decide found, in the order of the products' IDs. Those that exist are locked.
func writeChanges(ctx context.Context, tx *database.Tx, changes []change, add bool) error {
	var created, changed []change
	var less []Line
	for _, c := range changes {
		if c.create {
			created = append(created, c)
			continue
		}
		changed = append(changed, c)
		if add && c.after < c.before {
			less = append(less, Line{c.productID, c.before - c.after})
		}
	}
	if err := insertProducts(ctx, tx, created); err != nil {
		// Someone else was first, after the look: what is on hand is known to the next run.
		if database.IsDuplicate(err) {
			err = fmt.Errorf("%w: %w", database.ErrRetry, err)
		}
		return err
	}
	if err := changeProducts(ctx, tx, changed, add); err != nil {
		return err
	}
	b := tx.Batch()
	lowerOnHand(b, less)
	if err := b.Send(ctx); err != nil {
		return fmt.Errorf("lower what is on hand: %w", err)
	}
	return nil
}

// wait waits so long, or until ctx ends.
func wait(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

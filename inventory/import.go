package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"cartwheel/database"
)

const (
	// importChunk is the maximum number of rows in one transaction of an import: few enough that
	// nobody waits long for it, and many enough, because each is flushed.
	importChunk = 500
	// importChunkTimeout is the maximum time for which an import retries one chunk when the
	// database is away, busy, or has a row locked.
	importChunkTimeout = 30 * time.Second
	// importRetry is the pause before such a retry.
	importRetry = 100 * time.Millisecond
	// maxPause is the maximum pause after a chunk.
	maxPause = 250 * time.Millisecond
)

// An Import has the options of an import.
type Import struct {
	// Add adds the quantities, which may be negative, to those on hand, instead of setting them.
	Add bool
	// DryRun judges every row and writes nothing.
	DryRun bool
	// Delimiter separates the fields. 0: a comma.
	Delimiter rune
	// Bad is called for every bad row, in the order of the file; its error stops the import. nil:
	// not called.
	Bad func(BadRow) error
	// Warn is called for each product that was created although its ID looks like another's. nil:
	// not called.
	Warn func(LookAlike)

	chunkTimeout time.Duration // for one chunk; 0: importChunkTimeout
}

// A BadRow is a record of an import file that was left out.
type BadRow struct {
	Line   int    // its first line, counted from 1; the header is the first
	Reason string // for people
	// Header and Text are the file's columns and the record as they stand in the file, without
	// ReasonColumn. Text is empty when an unclosed quote cuts it off.
	Header, Text string
}

// A LookAlike is a created product whose ID differs from another one only by invisible characters
// or by its Unicode normal form.
type LookAlike struct {
	Line  int    // of the created product
	Other string // the other product: its ID, or the line that created it
}

// An ImportReport counts the results of an import, or those that a dry run would have had.
type ImportReport struct {
	Line int `json:"line"` // up to this line of the file everything is decided
	Rows int `json:"rows"` // rows that were decided; empty lines are none
	// The results of the rows.
	Created   int `json:"created"`
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
	Bad       int `json:"bad"`
	// Net is the units by which the quantities on hand were changed, all products together.
	Net int64 `json:"net"`
	// NetUncertain says that Net may miss some units: a chunk was set again because the database
	// went away when it had been set once. What is on hand is what the file says all the same.
	NetUncertain bool `json:"netUncertain"`
}

// Import applies the rows of a CSV file with the header ImportHeader, which ReasonColumn may
// follow. A product that does not exist is created; an empty name leaves the name as it is. It
// remembers each product of the file, in some 80 bytes.
//
// Bad rows are left out: those that are malformed, and a second row of one product. So are rows
// that would bring the quantity on hand below the one reserved, below 0, or above MaxOnHand.
//
// It blocks until all is read and decided. It works in small transactions with pauses between them,
// and is safe beside everything else that works on the stock, other imports included. When ctx ends
// it stops between two of them. The report is good with an error, too: the rows up to its Line are
// done, and may be left out of a repeat.
//
// A repeat is harmless unless options.Add. With it nothing is added twice: when the database goes
// away in the middle of a commit, the import stops, and the error says of which lines it is unknown
// whether they were added.
//
// Errors: those of reading the file, of options.Bad, and of ctx; a header that is none;
// database.ErrUnavailable; database.ErrOutcomeUnknown.
func (m *Manager) Import(ctx context.Context, file io.Reader, options Import) (ImportReport, error) {
	options.Delimiter = cmp.Or(options.Delimiter, ',')
	options.chunkTimeout = cmp.Or(options.chunkTimeout, importChunkTimeout)
	im := &importing{m: m, options: options, seed: maphash.MakeSeed(), lines: map[uint64]int{}, created: map[uint64]int{}}
	rows, err := openImport(file, options.Delimiter)
	if err != nil {
		return im.report, fmt.Errorf("import: %w", err)
	}
	for {
		im.report.Line = rows.line
		chunk, err := rows.chunk(importChunk)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return im.report, fmt.Errorf("import: stopped after line %d: %w", im.report.Line, err)
		}
		if len(chunk) == 0 {
			im.report.Line = rows.line // behind empty lines
			return im.report, im.warnOfLookAlikes(ctx)
		}
		started := time.Now()
		if err := im.take(ctx, chunk); err != nil {
			return im.report, fmt.Errorf("import: %w", err)
		}
		if !options.DryRun {
			sleep(ctx, im.pause(time.Since(started)))
		}
	}
}

// importing is an import that runs. It belongs to one goroutine.
type importing struct {
	m       *Manager
	options Import
	report  ImportReport
	waited  time.Duration // of the last chunk, for the start of its transaction

	// By the hashes of IDs under seed: two in 10 million products collide with a probability of 1
	// in 300,000.
	seed    maphash.Seed
	lines   map[uint64]int // the line of each product; of those that were created its negative
	created map[uint64]int // the line of each product that was created, by its ID's normal form
}

// pause returns the pause after a chunk, given its duration: four fifths of the time are for other
// writers, or one fifth where none has been waited for.
func (im *importing) pause(took time.Duration) time.Duration {
	if im.m.db.Embedded() && im.waited < time.Millisecond {
		return min(took/4, maxPause) // no one else writes
	}
	return min(took*4, maxPause)
}

// firstRows returns the rows that are good so far. It refuses the second and every further row of a
// product.
func (im *importing) firstRows(chunk []*importRow) (open []*importRow) {
	for _, row := range chunk {
		hash := maphash.String(im.seed, row.productID)
		first, found := im.lines[hash]
		switch {
		case row.Reason != "":
		case found:
			row.Reason = fmt.Sprintf("the product is on line %d already", max(first, -first))
		default:
			im.lines[hash] = row.Line
			open = append(open, row)
		}
	}
	return open
}

// recordCreated remembers a created product, and warns when another one of this file looks like it.
func (im *importing) recordCreated(productID string, line int) {
	im.lines[maphash.String(im.seed, productID)] = -line
	normal := maphash.String(im.seed, normalForm(productID))
	if other, found := im.created[normal]; found && im.options.Warn != nil {
		im.options.Warn(LookAlike{line, fmt.Sprintf("that of line %d", other)})
	}
	im.created[normal] = line
}

// warnOfLookAlikes compares the created products with those that the import did not create.
func (im *importing) warnOfLookAlikes(ctx context.Context) error {
	if len(im.created) == 0 || im.options.Warn == nil {
		return nil
	}
	return im.m.List(ctx, func(p Product) error {
		line, alike := im.created[maphash.String(im.seed, normalForm(p.ID))]
		if alike && im.lines[maphash.String(im.seed, p.ID)] >= 0 {
			im.options.Warn(LookAlike{line, strconv.QuoteToASCII(p.ID)})
		}
		return nil
	})
}

// normalForm returns the visible characters of an ID, in their compatibility form.
func normalForm(id string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
			return -1
		}
		return r
	}, norm.NFKC.String(id))
}

// take decides a chunk's rows and reports them.
func (im *importing) take(ctx context.Context, chunk []*importRow) error {
	open := im.firstRows(chunk)
	for started := time.Now(); len(open) > 0; {
		locked, err := im.transact(ctx, open)
		lines := fmt.Sprintf("lines %d to %d", open[0].Line, open[len(open)-1].Line)
		patient := time.Since(started) < im.options.chunkTimeout && ctx.Err() == nil
		unknown := errors.Is(err, database.ErrOutcomeUnknown)
		passing := unknown || errors.Is(err, database.ErrUnavailable) || errors.Is(err, database.ErrRowLocked)
		im.report.NetUncertain = im.report.NetUncertain || unknown && !im.options.Add
		switch {
		case unknown && im.options.Add:
			return fmt.Errorf("it is not known whether %s were added; what follows was not: %w", lines, err)
		case err != nil && (!passing || !patient):
			return fmt.Errorf("%s were not imported, nor what follows: %w", lines, errors.Join(err, ctx.Err()))
		case err == nil && patient:
			open = locked
		case err == nil:
			for _, row := range locked {
				row.Reason = "the product's row is locked by another session"
			}
			open = nil
		}
		if len(open) > 0 {
			sleep(ctx, importRetry)
		}
	}
	return im.account(chunk)
}

// account reports a chunk whose rows are all decided.
func (im *importing) account(chunk []*importRow) error {
	for _, row := range chunk {
		im.report.Rows++
		im.report.Line = row.end
		if row.Reason == "" {
			continue
		}
		im.report.Bad++
		if im.options.Bad == nil {
			continue
		}
		if err := im.options.Bad(row.BadRow); err != nil {
			return fmt.Errorf("report line %d: %w", row.Line, err)
		}
	}
	return nil
}

// transact decides rows and writes what they change, in one transaction that the end of ctx does
// not break off. It returns the rows whose products someone else keeps locked.
func (im *importing) transact(ctx context.Context, rows []*importRow) (locked []*importRow, err error) {
	ctx = context.WithoutCancel(ctx) // a transaction is short, and its time is bounded
	var changes []change
	var unchanged int
	decideAll := func(tx *database.Tx) error {
		stock, err := im.stock(ctx, tx, rows)
		if err == nil {
			changes, locked, unchanged = decide(rows, stock, im.options.Add)
		}
		return err
	}
	if im.options.DryRun {
		err = im.m.db.Read(ctx, decideAll)
	} else {
		asked := time.Now()
		// What a lost commit wrote cannot be told from what others wrote since: there is nothing to
		// look for.
		err = im.m.db.Transact(ctx, func(tx *database.Tx) error {
			im.waited = time.Since(asked)
			if err := decideAll(tx); err != nil || len(changes) == 0 {
				return err
			}
			return im.m.writeChanges(ctx, tx, changes, im.options.Add)
		}, nil)
	}
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		im.report.Net += c.after - c.before
		if c.create {
			im.report.Created++
			im.recordCreated(c.productID, c.line)
		} else {
			im.report.Changed++
		}
	}
	im.report.Unchanged += unchanged
	return locked, nil
}

// stock returns the stock of the rows' products, locked unless it is a dry run. Those that do not
// exist have none, but may be reserved: someone may have deleted a product by hand.
func (im *importing) stock(ctx context.Context, tx *database.Tx, rows []*importRow) (*Stock, error) {
	ids := database.IDs(rows, func(row *importRow) string { return row.productID })
	b := tx.Batch()
	var stock *Stock
	var err error
	if im.options.DryRun {
		stock = im.m.ReadLevels(b, ids)
		err = b.Send(ctx)
	} else {
		stock, err = im.m.Lock(ctx, tx, ids)
	}
	if err != nil {
		return nil, fmt.Errorf("read stock: %w", err)
	}
	for _, id := range database.SortedUnique(ids) {
		if stock.levels[id] == nil && !stock.locked[id] {
			stock.missing = append(stock.missing, id)
			stock.levels[id] = &Level{}
		}
	}
	queryReserved(b, stock.missing, stock)
	stock.names = map[string]string{}
	queryNames(b, ids, stock.names)
	if err := b.Send(ctx); err != nil {
		return nil, fmt.Errorf("read stock: %w", err)
	}
	return stock, nil
}

// A change is the effect of a row on its product.
type change struct {
	productID     string
	name          string // empty: stays
	line          int
	create        bool
	before, after int64 // units on hand
}

// decide judges rows, each of a product of its own: it returns the changes in the order of the
// products' IDs, the rows whose product another session keeps locked, and how many rows say what is
// stored already. Bad rows get their reason. A repeat is harmless.
func decide(rows []*importRow, stock *Stock, add bool) (changes []change, locked []*importRow, unchanged int) {
	for _, row := range rows {
		row.Reason = ""
		if stock.locked[row.productID] {
			locked = append(locked, row)
			continue
		}
		level := stock.levels[row.productID]
		after := row.quantity
		if add {
			after += level.OnHand
		}
		_, missing := slices.BinarySearch(stock.missing, row.productID)
		switch {
		case after < 0:
			row.Reason = fmt.Sprintf("would bring on hand to %d, below 0", after)
		case after < level.Reserved:
			row.Reason = fmt.Sprintf("would bring on hand to %d, below the %d reserved by checkouts in flight",
				after, level.Reserved)
		case after > MaxOnHand:
			row.Reason = fmt.Sprintf("would bring on hand to %d, above %d", after, MaxOnHand)
		case !missing && after == level.OnHand && (row.name == "" || row.name == stock.names[row.productID]):
			unchanged++
		default:
			changes = append(changes, change{row.productID, row.name, row.Line, missing, level.OnHand, after})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.productID, b.productID) })
	return changes, locked, unchanged
}

// writeChanges writes the changes, in the order of the products' IDs. This transaction has locked
// those that exist.
func (m *Manager) writeChanges(ctx context.Context, tx *database.Tx, changes []change, add bool) error {
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
	if err := insertProducts(ctx, tx, created, add, ""); err != nil {
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

// sleep waits for the pause, or until ctx ends.
func sleep(ctx context.Context, pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

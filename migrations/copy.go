package migrations

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cartwheel/database"
)

const (
	// copyRows and copyBytes are the most that one INSERT of a copy holds. Servers take 16 MiB and
	// more at once.
	copyRows  = 500
	copyBytes = 1 << 20
)

var (
	// ErrOccupied means that a copy's target holds rows, which are not those of its source.
	ErrOccupied = errors.New("the database that is to be copied to is not empty")
	// ErrCopyDiffers means that what the target says was written is not what the source holds.
	// Nothing was kept.
	ErrCopyDiffers = errors.New("the copy differs from its source")
)

// A kind is how a column's values are read, written and compared.
type kind int

const (
	text   kind = iota
	number      // an integer
	octets      // bytes that are no text
	moment      // a time, in UTC, to the microsecond
	lease       // a moment that only counts as being there or not: see Copy
)

// leaseColumn is the column that says whether a checkout is open.
const leaseColumn = "lease_expires_at"

// kind returns how Copy treats the column.
func (c columnSpec) kind() kind {
	switch {
	case c.name == leaseColumn:
		return lease
	case c.dataType == "datetime":
		return moment
	case c.dataType == "binary":
		return octets
	case c.collation == "":
		return number
	default:
		return text
	}
}

// copiedTables returns the tables that Copy copies. Versions matter to no other database.
func copiedTables() []tableSpec {
	return slices.DeleteFunc(schema(), func(t tableSpec) bool { return t.name == guardTable })
}

// A CopiedTable says what a copy has of one table.
type CopiedTable struct {
	Name     string
	Rows     int64
	HasUnits bool  // it has quantities
	Units    int64 // the sum of these
	Open     int64 // rows with a lease: checkouts that are not settled
	hash     [4]uint64
}

// A CopyReport says what a copy has of each table.
type CopyReport struct {
	Tables []CopiedTable
	// AlreadyThere says that an earlier run had copied all of it, and that nothing was left to do.
	AlreadyThere bool
}

// Rows is how many rows there are in all tables.
func (r CopyReport) Rows() (n int64) {
	for _, t := range r.Tables {
		n += t.Rows
	}
	return n
}

// Open is how many checkouts are not settled.
func (r CopyReport) Open() (n int64) {
	for _, t := range r.Tables {
		n += t.Open
	}
	return n
}

// Copy copies every row of the embedded engine into the empty tables of a MySQL server, both
// migrated, and compares what the server then holds with what was read, row by row. It does so in
// one transaction on either side: others can read the source meanwhile but not write to it, and see
// nothing of the copy before all of it is there. Whatever ends it early, a crash included, leaves
// the target empty. Its memory does not grow with the tables.
//
// The source is sealed before others may write to it again: what is not in the copy is refused.
//
// The caller has the source's lock, so that nobody owns an open checkout any more: leases are
// copied as over by the target's clock, for the next server to claim. progress is called now and
// then with the rows done and all rows, each of which counts twice, once for writing and once for
// comparing.
//
// A repeat after success copies nothing and says so. Errors: ErrOccupied; ErrCopyDiffers; those of
// ctx and of the engines.
func Copy(ctx context.Context, source, target *database.DB, progress func(done, all int64)) (report CopyReport, err error) {
	from, err := source.Setup().BeginTx(ctx, nil) // takes the write lock
	if err != nil {
		return report, fmt.Errorf("lock %s: %w", source.Engine(), err)
	}
	defer from.Rollback() //nolint:errcheck // nothing was written
	to, err := target.Setup().BeginTx(ctx, nil)
	if err != nil {
		return report, fmt.Errorf("begin the copy: %w", err)
	}
	defer to.Rollback() //nolint:errcheck // after the commit there is nothing to roll back, and else the server does it

	c := copying{from: from, to: to, progress: progress}
	if c.all, err = countRows(ctx, from); err != nil {
		return report, fmt.Errorf("read %s: %w", source.Engine(), err)
	}
	c.all *= 2
	occupied, err := countRows(ctx, to)
	switch {
	case err != nil:
		return report, fmt.Errorf("read %s: %w", target.Engine(), err)
	case occupied > 0:
		report.Tables, report.AlreadyThere, err = c.compareOnly(ctx)
		switch {
		case err != nil:
			return report, err
		case !report.AlreadyThere:
			return report, fmt.Errorf("%w: %s holds %d rows (name a database that does not exist yet; it is created)", ErrOccupied, target.Engine(), occupied)
		}
		return report, nil
	}
	if report.Tables, err = c.copy(ctx); err != nil {
		return report, err
	}
	if err := to.Commit(); err != nil {
		return report, fmt.Errorf("whether the copy was stored is not known (run this again: it finds out): %w", err)
	}
	return report, nil
}

func countRows(ctx context.Context, tx *sql.Tx) (all int64, err error) {
	for _, t := range copiedTables() {
		var n int64
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+t.name).Scan(&n); err != nil {
			return 0, fmt.Errorf("count %s: %w", t.name, err)
		}
		all += n
	}
	return all, nil
}

// Occupied returns those of our tables that are there and hold rows, before anything is migrated:
// what is in them may be another system's.
func Occupied(ctx context.Context, db *database.DB) ([]string, error) {
	var found []string
	for _, t := range copiedTables() {
		there, err := column(ctx, db.Setup(), "SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND table_name = ?", t.name)
		if err != nil {
			return nil, fmt.Errorf("look for tables: %w", err)
		}
		if len(there) == 0 {
			continue
		}
		row, err := column(ctx, db.Setup(), "SELECT 1 FROM "+t.name+" LIMIT 1")
		if err != nil {
			return nil, fmt.Errorf("look into %s: %w", t.name, err)
		}
		if len(row) > 0 {
			found = append(found, t.name)
		}
	}
	return found, nil
}

// copying is one copy under way.
type copying struct {
	from, to *sql.Tx
	progress func(done, all int64)
	done     int64
	all      int64 // rows to be read, on either side
}

func (c *copying) copy(ctx context.Context) ([]CopiedTable, error) {
	tables := make([]CopiedTable, 0, len(copiedTables()))
	for _, t := range copiedTables() {
		batch := newBatch(t)
		read, err := c.read(ctx, c.from, t, func(row []any, size int) error {
			if batch.rows == copyRows || batch.bytes+size > copyBytes {
				if err := batch.insert(ctx, c.to); err != nil {
					return err
				}
			}
			batch.add(row, size)
			return nil
		})
		if err == nil {
			err = batch.insert(ctx, c.to)
		}
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", t.name, err)
		}
		tables = append(tables, read)
	}
	for i, t := range copiedTables() {
		written, err := c.read(ctx, c.to, t, nil)
		if err != nil {
			return nil, fmt.Errorf("read the copy of %s: %w", t.name, err)
		}
		if written != tables[i] {
			return nil, fmt.Errorf("%w: %s has %d rows of %d units, of which %d rows of %d units, or others, are in the copy",
				ErrCopyDiffers, t.name, tables[i].Rows, tables[i].Units, written.Rows, written.Units)
		}
	}
	return tables, nil
}

// compareOnly reports whether the target holds the source's rows and no other.
func (c *copying) compareOnly(ctx context.Context) (tables []CopiedTable, same bool, err error) {
	same = true
	for _, t := range copiedTables() {
		there, err := c.read(ctx, c.to, t, nil)
		if err != nil {
			return nil, false, fmt.Errorf("read the copy of %s: %w", t.name, err)
		}
		here, err := c.read(ctx, c.from, t, nil)
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", t.name, err)
		}
		tables, same = append(tables, there), same && here == there
	}
	return tables, same, nil
}

// progressEvery is after how many rows progress is told.
const progressEvery = 1000

// read reads a table and sums it up. use, which may be nil, gets each row's values and their size
// in bytes.
func (c *copying) read(ctx context.Context, tx *sql.Tx, t tableSpec, use func(row []any, size int) error) (sum CopiedTable, err error) {
	sum.Name = t.name
	rows, err := tx.QueryContext(ctx, "SELECT "+t.list()+" FROM "+t.name)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	into := make([]any, len(t.columns))
	for i, col := range t.columns {
		into[i] = col.kind().target()
		sum.HasUnits = sum.HasUnits || col.name == quantityColumn
	}
	var encoded []byte
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return sum, err
		}
		encoded = encoded[:0]
		for i, col := range t.columns {
			encoded = col.kind().encode(encoded, into[i])
			switch v := into[i].(type) {
			case *sql.NullInt64:
				if col.name == quantityColumn {
					sum.Units += v.Int64
				}
			case *sql.NullTime:
				if col.kind() == lease && v.Valid {
					sum.Open++
				}
			}
		}
		sum.add(encoded)
		if use != nil {
			if err := use(into, len(encoded)); err != nil {
				return sum, err
			}
		}
		if c.done++; c.progress != nil && (c.done%progressEvery == 0 || c.done == c.all) {
			c.progress(c.done, c.all)
		}
	}
	return sum, rows.Err()
}

// add counts a row in. The sum of the rows' hashes does not depend on their order, which the
// engines see differently.
func (t *CopiedTable) add(row []byte) {
	t.Rows++
	hash := sha256.Sum256(row)
	for i := range t.hash {
		t.hash[i] += binary.LittleEndian.Uint64(hash[8*i:])
	}
}

// target returns what a value is scanned into.
func (k kind) target() any {
	switch k {
	case number:
		return new(sql.NullInt64)
	case octets:
		return new([]byte)
	case moment, lease:
		return new(sql.NullTime)
	default:
		return new(sql.NullString)
	}
}

// encode appends what is compared of a scanned value, with its length, so that no two rows look
// alike.
func (k kind) encode(to []byte, scanned any) []byte {
	field := func(valid bool, value string) []byte {
		if !valid {
			return append(to, 0)
		}
		to = append(to, 1)
		to = binary.AppendUvarint(to, uint64(len(value)))
		return append(to, value...)
	}
	switch v := scanned.(type) {
	case *sql.NullInt64:
		return field(v.Valid, string(binary.AppendVarint(nil, v.Int64)))
	case *[]byte:
		return field(*v != nil, string(*v))
	case *sql.NullTime:
		if k == lease {
			return field(v.Valid, "")
		}
		return field(v.Valid, string(binary.AppendVarint(nil, v.Time.UnixMicro())))
	case *sql.NullString:
		return field(v.Valid, v.String)
	default:
		panic(fmt.Sprintf("a value of type %T", scanned))
	}
}

// A batch is the rows of one INSERT.
type batch struct {
	table       tableSpec
	row         string // placeholders, or what stands in their place
	values      []any
	rows, bytes int
}

func newBatch(t tableSpec) *batch {
	cells := make([]string, len(t.columns))
	for i, col := range t.columns {
		cells[i] = "?"
		if col.kind() == lease {
			cells[i] = "IF(?, UTC_TIMESTAMP(6), NULL)"
		}
	}
	return &batch{table: t, row: "(" + strings.Join(cells, ",") + ")"}
}

// add takes a row's scanned values, which are the next row's soon.
func (b *batch) add(row []any, size int) {
	for i, scanned := range row {
		b.values = append(b.values, b.table.columns[i].kind().value(scanned))
	}
	b.rows++
	b.bytes += size
}

// value is a scanned value as an argument.
func (k kind) value(scanned any) any {
	switch v := scanned.(type) {
	case *sql.NullInt64:
		return *v
	case *[]byte:
		return bytes.Clone(*v)
	case *sql.NullTime:
		if k == lease {
			return v.Valid
		}
		return sql.NullTime{Time: v.Time.UTC().Truncate(time.Microsecond), Valid: v.Valid}
	case *sql.NullString:
		return *v
	default:
		panic(fmt.Sprintf("a value of type %T", scanned))
	}
}

func (b *batch) insert(ctx context.Context, tx *sql.Tx) error {
	if b.rows == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO "+b.table.name+" ("+b.table.list()+") VALUES "+
		strings.TrimSuffix(strings.Repeat(b.row+",", b.rows), ","), b.values...)
	if err != nil {
		return fmt.Errorf("the rows from %v to %v: %w", b.key(0), b.key(b.rows-1), err)
	}
	b.values, b.rows, b.bytes = b.values[:0], 0, 0
	return nil
}

// key is the text that a row begins with, which is its key or the first part of it.
func (b *batch) key(row int) string {
	key, _ := b.values[row*len(b.table.columns)].(sql.NullString)
	return fmt.Sprintf("%q", key.String)
}

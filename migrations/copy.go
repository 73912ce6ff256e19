package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"cartwheel/database"
)

const (
	// copyRows is the maximum number of rows in one INSERT of a copy.
	copyRows = 500
	// copyBytes is the size in bytes from which on an INSERT gets no more rows. Servers accept 16
	// MiB and more at once.
	copyBytes = 1 << 20
)

var (
	// ErrOccupied means that a copy's target holds rows, which are not those of its source.
	ErrOccupied = errors.New("the database that is to be copied to is not empty")
	// ErrCopyDiffers means that the target's rows are not those of the source. Nothing was kept.
	ErrCopyDiffers = errors.New("the copy differs from its source")
)

// copiedTables returns the tables that Copy copies. Versions matter to no other database.
func copiedTables() []tableSpec {
	return slices.DeleteFunc(schema(), func(t tableSpec) bool { return t.name == "product_guard" })
}

// asText returns the expression that reads the column as text, which is the same on both engines.
// Of a lease it only says whether there is one.
func (c columnSpec) asText(embedded bool) string {
	switch {
	case c.name == "lease_expires_at":
		return "CASE WHEN " + c.name + " IS NOT NULL THEN 1 END"
	case c.dataType == "binary":
		return "HEX(" + c.name + ")"
	case c.dataType == "datetime" && embedded:
		return "strftime('%Y-%m-%d %H:%M:%f000', " + c.name + ")"
	case c.dataType == "datetime":
		return "CAST(" + c.name + " AS CHAR)"
	default:
		return c.name
	}
}

// fromText returns the expression that makes the column's value of such a text. Leases have just
// ended by the target's clock.
func (c columnSpec) fromText() string {
	switch {
	case c.name == "lease_expires_at":
		return "IF(?, UTC_TIMESTAMP(6), NULL)"
	case c.dataType == "binary":
		return "UNHEX(?)"
	default:
		return "?"
	}
}

// A CopiedTable counts the rows of one table in a copy.
type CopiedTable struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
	hash uint64
}

// hashSeed makes the hashes of one process unpredictable.
var hashSeed = maphash.MakeSeed()

// add counts a row in. The sum of the rows' hashes does not depend on their order, which the
// engines see differently.
func (t *CopiedTable) add(row []sql.NullString) {
	t.Rows++
	var text []byte
	for _, v := range row {
		text = fmt.Appendf(text, "%t %d %s", v.Valid, len(v.String), v.String)
	}
	t.hash += maphash.Bytes(hashSeed, text)
}

// A CopyReport counts the rows of a copy.
type CopyReport struct {
	Tables []CopiedTable `json:"tables"`
	// AlreadyThere says that an earlier run had copied all of it, and that nothing was left to do.
	AlreadyThere bool `json:"alreadyThere"`
}

// Rows is how many rows there are in all tables.
func (r CopyReport) Rows() (n int64) {
	for _, t := range r.Tables {
		n += t.Rows
	}
	return n
}

// Copy copies every row of the embedded engine into the empty tables of a MySQL server, both
// migrated. It then compares the server's rows with the source's. It has one transaction on either
// side: others may read the source but not write to it, and see nothing of an unfinished copy. An
// error or a crash leaves the target empty. Its memory does not grow with the tables.
//
// The caller has the source's lock, so that nobody owns an open checkout any more: leases are
// copied as over by the target's clock, for the next server to claim. progress is called after each
// row with the rows done and all rows, each of which counts twice, once for writing and once for
// comparing.
//
// A repeat after success copies nothing and says so. Errors: ErrOccupied; ErrCopyDiffers; those of
// ctx and of the engines.
func Copy(
	ctx context.Context, source, target *database.DB, progress func(done, all int64),
) (report CopyReport, err error) {
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

	rows, err := countRows(ctx, from)
	if err != nil {
		return report, fmt.Errorf("count the rows of %s: %w", source.Engine(), err)
	}
	occupied, err := countRows(ctx, to)
	if err != nil {
		return report, fmt.Errorf("count the rows of %s: %w", target.Engine(), err)
	}
	c := copying{from: from, to: to, progress: progress, all: 2 * rows}
	report.AlreadyThere = occupied > 0
	for _, t := range copiedTables() {
		read, err := c.copy(ctx, t, report.AlreadyThere)
		if err != nil {
			return report, fmt.Errorf("copy %s: %w", t.name, err)
		}
		written, err := c.read(ctx, to, t, false, nil)
		switch {
		case err != nil:
			return report, fmt.Errorf("read the copy of %s: %w", t.name, err)
		case read != written && report.AlreadyThere:
			return report, fmt.Errorf("%w: %s holds %d rows (name a database that does not exist yet; it is created)",
				ErrOccupied, target.Engine(), occupied)
		case read != written:
			return report, fmt.Errorf("%w: %s has %d rows, of which %d, or others, are in the copy",
				ErrCopyDiffers, t.name, read.Rows, written.Rows)
		}
		report.Tables = append(report.Tables, read)
	}
	if err := to.Commit(); err != nil {
		return report, fmt.Errorf("whether the copy was stored is not known (run this again: it finds out): %w", err)
	}
	return report, nil
}

func countRows(ctx context.Context, tx *sql.Tx) (all int64, err error) {
	var counts []string
	for _, t := range copiedTables() {
		counts = append(counts, "(SELECT COUNT(*) FROM "+t.name+")")
	}
	err = tx.QueryRowContext(ctx, "SELECT "+strings.Join(counts, " + ")).Scan(&all)
	return all, err
}

// Occupied returns those of our tables that are there and hold rows, before anything is migrated:
// what is in them may be another system's.
func Occupied(ctx context.Context, db *database.DB) (found []string, err error) {
	c := catalogueOf(db)
	for _, t := range copiedTables() {
		var row []string // its table's name
		have, err := c.tableNamed(ctx, t.name)
		if err == nil && have.Kind != "" {
			err = c.SelectContext(ctx, &row, "SELECT '"+t.name+"' FROM "+t.name+" LIMIT 1")
		}
		if err != nil {
			return nil, fmt.Errorf("look into %s: %w", t.name, err)
		}
		found = append(found, row...)
	}
	return found, nil
}

// copying is a copy that runs.
type copying struct {
	from, to  *sql.Tx
	progress  func(done, all int64)
	done, all int64 // rows read, on either side
}

// copy reads a table of the source and inserts its rows, unless they are there already.
func (c *copying) copy(ctx context.Context, t tableSpec, alreadyThere bool) (CopiedTable, error) {
	if alreadyThere {
		return c.read(ctx, c.from, t, true, nil)
	}
	names := t.expressions(func(c columnSpec) string { return c.name })
	row := ", (" + t.expressions(columnSpec.fromText) + ")"
	var values []any
	var size int
	insert := func() error {
		if len(values) == 0 {
			return nil
		}
		rows := strings.TrimPrefix(strings.Repeat(row, len(values)/len(t.columns)), ", ")
		if _, err := c.to.ExecContext(ctx, "INSERT INTO "+t.name+" ("+names+") VALUES "+rows, values...); err != nil {
			first, last := values[0].(sql.NullString), values[len(values)-len(t.columns)].(sql.NullString)
			return fmt.Errorf("the rows from %q to %q: %w", first.String, last.String, err)
		}
		values, size = values[:0], 0
		return nil
	}
	read, err := c.read(ctx, c.from, t, true, func(row []sql.NullString) error {
		for _, v := range row {
			values, size = append(values, v), size+len(v.String)
		}
		if len(values) >= copyRows*len(row) || size >= copyBytes {
			return insert()
		}
		return nil
	})
	if err != nil {
		return read, err
	}
	return read, insert()
}

// read reads a table and sums it up. use, which may be nil, gets each row's values.
func (c *copying) read(
	ctx context.Context, tx *sql.Tx, t tableSpec, embedded bool, use func(row []sql.NullString) error,
) (sum CopiedTable, err error) {
	sum.Name = t.name
	texts := t.expressions(func(c columnSpec) string { return c.asText(embedded) })
	rows, err := tx.QueryContext(ctx, "SELECT "+texts+" FROM "+t.name)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	row, into := make([]sql.NullString, len(t.columns)), make([]any, len(t.columns))
	for i := range row {
		into[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return sum, err
		}
		sum.add(row)
		if use != nil {
			if err := use(row); err != nil {
				return sum, err
			}
		}
		c.done++
		c.progress(c.done, c.all)
	}
	return sum, rows.Err()
}

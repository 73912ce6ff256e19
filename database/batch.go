package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cartwheel/database/engine"
)

// A Batch is a list of statements of one transaction. On a server across a network, consecutive
// statements of one kind, Exec or Query, take one round trip. On the embedded engine each statement
// runs by itself. What scan and check store is there once Send has returned.
type Batch struct {
	tx         *Tx
	statements []statement
}

// A statement either returns rows, which scan reads, or changes rows, whose number check may
// refuse.
type statement struct {
	query string
	args  []any
	scan  func(*sql.Rows) error
	check func(rows int64) error
}

func (s statement) reads() bool { return s.scan != nil }

// Batch returns an empty batch.
func (tx *Tx) Batch() *Batch { return &Batch{tx: tx} }

// Dialect returns the dialect of the transaction's engine.
func (b *Batch) Dialect() Dialect { return b.tx.engine.Dialect }

// Exec adds a statement that returns no rows. check is called with the number of rows that it
// matched; nil accepts any number.
func (b *Batch) Exec(check func(rows int64) error, query string, args ...any) {
	b.statements = append(b.statements, statement{query: query, args: args, check: check})
}

// Query adds a statement that returns rows. scan is called for each.
func (b *Batch) Query(scan func(*sql.Rows) error, query string, args ...any) {
	b.statements = append(b.statements, statement{query: query, args: args, scan: scan})
}

// QueryIn adds a query of the rows with these IDs, in as few statements as fit. (?) in the query
// stands for a list of them.
func (b *Batch) QueryIn(ids []string, scan func(*sql.Rows) error, query string) {
	for chunk := range slices.Chunk(ids, ChunkRows) {
		padded := Pad(chunk)
		b.Query(scan, strings.Replace(query, "(?)", In(len(padded)), 1), Anys(padded)...)
	}
}

// Send runs the statements in their order and empties the batch. It stops at the first error of a
// statement, of scan or of check. The transaction must then be rolled back, because later
// statements may have run.
func (b *Batch) Send(ctx context.Context) error {
	statements := b.statements
	b.statements = nil
	for len(statements) > 0 {
		n := 1
		for !b.tx.engine.Embedded() && n < len(statements) && statements[n].reads() == statements[0].reads() {
			n++
		}
		if err := b.tx.send(ctx, statements[:n]); err != nil {
			return err
		}
		statements = statements[n:]
	}
	return nil
}

// send runs statements of one kind in one round trip.
func (tx *Tx) send(ctx context.Context, statements []statement) error {
	ctx, err := tx.statementContext(ctx)
	if err != nil {
		return err
	}
	texts := make([]string, len(statements))
	var args []any
	for i, s := range statements {
		texts[i] = s.query
		args = append(args, s.args...)
	}
	text := strings.Join(texts, engine.Separator)
	if statements[0].reads() {
		return tx.queryAll(ctx, statements, text, args)
	}
	return tx.execAll(ctx, statements, text, args)
}

func (tx *Tx) queryAll(ctx context.Context, statements []statement, text string, args []any) (err error) {
	rows, err := tx.conn.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for i, statement := range statements {
		if i > 0 && !rows.NextResultSet() {
			if err := rows.Err(); err != nil {
				return err
			}
			return fmt.Errorf("statement %d of %d returned no rows: %s", i+1, len(statements), statement.query)
		}
		for rows.Next() {
			if err := statement.scan(rows); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
	return nil
}

// execAll asks the connection for the row counts of all statements. database/sql reports one count
// only.
func (tx *Tx) execAll(ctx context.Context, statements []statement, text string, args []any) error {
	if _, err := tx.conn.ExecContext(ctx, text, args...); err != nil {
		return err
	}
	var counts []int64
	err := tx.conn.Raw(func(raw any) (err error) {
		counts, err = raw.(*engine.Conn).RowCounts()
		return err
	})
	if err != nil {
		return err
	}
	if len(counts) != len(statements) {
		return fmt.Errorf("%d statements returned %d results", len(statements), len(counts))
	}
	for i, statement := range statements {
		if statement.check == nil {
			continue
		}
		if err := statement.check(counts[i]); err != nil {
			return err
		}
	}
	return nil
}

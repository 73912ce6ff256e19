package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// A deferred is a statement that goes to the server together with the next one.
type deferred struct {
	query string
	args  []any
	scan  func(*sql.Rows) error // of a statement that returns rows
	found func(int64) error     // of one that does not
}

func (d deferred) reads() bool { return d.scan != nil }

// Later is Exec, of which found, if it is not nil, is told the number of rows: where the engine is across a network, the
// statement is sent in one round trip with the statements that follow, at the latest by Flush or with the end of the
// transaction's work. An error of it, or of found, is that of whatever sends it; what follows it is then not done.
func (tx *Tx) Later(ctx context.Context, found func(int64) error, query string, args ...any) error {
	if found == nil {
		found = func(int64) error { return nil }
	}
	if !tx.dialect.pipelines {
		n, err := tx.Exec(ctx, query, args...)
		if err != nil {
			return err
		}
		return found(n)
	}
	return tx.postpone(ctx, deferred{query: query, args: args, found: found})
}

// LaterEach is Each, sent as Later sends statements.
func (tx *Tx) LaterEach(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	if !tx.dialect.pipelines {
		return tx.Each(ctx, scan, query, args...)
	}
	return tx.postpone(ctx, deferred{query: query, args: args, scan: scan})
}

// postpone keeps a statement for the next round trip. One round trip takes statements of one kind.
func (tx *Tx) postpone(ctx context.Context, d deferred) error {
	s := tx.session
	if len(s.deferred) > 0 && s.deferred[0].reads() != d.reads() {
		if err := tx.Flush(ctx); err != nil {
			return err
		}
	}
	s.deferred = append(s.deferred, d)
	return nil
}

// joins reports whether a statement of a kind can go with those that are kept.
func (tx *Tx) joins(reads bool) bool {
	kept := tx.session.deferred
	return len(kept) > 0 && kept[0].reads() == reads
}

// Flush sends what Later and LaterEach have kept, and waits for the answers.
func (tx *Tx) Flush(ctx context.Context) error {
	s := tx.session
	if len(s.deferred) == 0 {
		return nil
	}
	ctx, err := tx.statementContext(ctx)
	if err != nil {
		return err
	}
	statements := s.deferred
	s.deferred = nil
	if statements[0].reads() {
		return s.queryAll(ctx, statements)
	}
	return s.execAll(ctx, statements)
}

// together returns statements as one text, and all their arguments.
func together(statements []deferred) (string, []any) {
	var text strings.Builder
	var args []any
	for i, d := range statements {
		if i > 0 {
			text.WriteString("; ")
		}
		text.WriteString(d.query)
		args = append(args, d.args...)
	}
	return text.String(), args
}

func (s *session) queryAll(ctx context.Context, statements []deferred) (err error) {
	text, args := together(statements)
	rows, err := s.conn.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for i, d := range statements {
		if i > 0 && !rows.NextResultSet() {
			if err := rows.Err(); err != nil {
				return err
			}
			return fmt.Errorf("statement %d of %d gave no rows: %s", i+1, len(statements), d.query)
		}
		for rows.Next() {
			if err := d.scan(rows); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
	return nil
}

// execAll goes past database/sql, which has the number of rows of one statement only.
func (s *session) execAll(ctx context.Context, statements []deferred) error {
	text, args := together(statements)
	var counts []int64
	err := s.conn.Raw(func(raw any) error {
		values := make([]driver.NamedValue, len(args))
		for i, arg := range args {
			values[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
			if err := raw.(driver.NamedValueChecker).CheckNamedValue(&values[i]); err != nil {
				return err
			}
		}
		result, err := raw.(driver.ExecerContext).ExecContext(ctx, text, values)
		if err != nil {
			return err
		}
		counts = result.(mysql.Result).AllRowsAffected()
		return nil
	})
	if err != nil {
		return err
	}
	if len(counts) != len(statements) {
		return fmt.Errorf("%d statements gave %d results", len(statements), len(counts))
	}
	for i, d := range statements {
		if err := d.found(counts[i]); err != nil {
			return err
		}
	}
	return nil
}

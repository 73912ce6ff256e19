package database

import (
	"database/sql"
	"iter"
	"slices"
	"strings"

	"cartwheel/database/engine"
)

// ChunkRows is the maximum number of rows, or values of an IN list, that one statement names. Lists
// of 1,000 and more become joins on MariaDB, which do not lock in the order of the list.
const ChunkRows = 256

// paddedSizes are the lengths of lists in statements. They are close enough that little padding is
// sent, and few enough that a connection caches a prepared statement for each.
var paddedSizes = []int{
	1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, ChunkRows,
}

// Pad returns the items, at most ChunkRows, and repeats the last one until their number is one of
// few: a connection can then cache the statement. It is for statements that a repeat does not
// change.
func Pad[T any](items []T) []T {
	at, _ := slices.BinarySearch(paddedSizes, len(items))
	if len(items) == 0 || at == len(paddedSizes) {
		return items
	}
	last := items[len(items)-1:]
	return slices.Concat(items, slices.Repeat(last, paddedSizes[at]-len(items)))
}

// Pieces cuts items, in order, into pieces of at most ChunkRows. Where a statement's text depends
// on its number of rows, the pieces have few lengths. It is for statements that Pad's repeats would
// change.
func Pieces[T any](d Dialect, items []T) iter.Seq[[]T] {
	if d.ListIsOneArgument() {
		return slices.Chunk(items, ChunkRows)
	}
	return func(yield func([]T) bool) {
		for len(items) > 0 {
			at, found := slices.BinarySearch(paddedSizes, len(items))
			if !found {
				at--
			}
			n := paddedSizes[at]
			if !yield(items[:n:n]) {
				return
			}
			items = items[n:]
		}
	}
}

// NullIfEmpty is the text as an argument of a statement: NULL when it is empty.
func NullIfEmpty(text string) sql.NullString { return sql.NullString{String: text, Valid: text != ""} }

// SortedUnique returns the IDs in order, each once: the order in which their rows are locked.
func SortedUnique(ids []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(ids)))
}

// IDs returns the ID of each item, in their order.
func IDs[T any](items []T, id func(T) string) []string {
	ids := make([]string, len(items))
	for i, item := range items {
		ids[i] = id(item)
	}
	return ids
}

// Anys returns the IDs as arguments of a statement.
func Anys(ids []string) []any {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	return args
}

// Values returns n groups of that many placeholders: Values(2, 3) is "(?,?,?),(?,?,?)".
func Values(n, columns int) string { return engine.Values(n, columns) }

// In returns a list of n placeholders in parentheses.
func In(n int) string { return Values(1, n) }

// AnyOf returns n times the condition, joined by OR. `(a, b) IN ((?, ?))` with one tuple scans the
// table; an OR of ANDs does not.
func AnyOf(n int, condition string) string {
	return "(" + strings.TrimSuffix(strings.Repeat("("+condition+") OR ", n), " OR ") + ")"
}

// InsertEach returns an INSERT of n rows whose columns have these values: expressions that are the
// same in all rows, or "?", whose arguments come row by row.
func InsertEach(table, columns string, values []string, n int) string {
	row := "(" + strings.Join(values, ",") + ")"
	return "INSERT INTO " + table + " (" + columns + ") VALUES " + row + strings.Repeat(","+row, n-1)
}

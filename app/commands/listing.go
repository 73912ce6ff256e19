package commands

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// tablePage is the maximum number of lines that a table aligns together, and so has in memory.
const tablePage = 1000

// A listing prints an aligned table for people, or a JSON array for programs, as it comes.
type listing struct {
	out    *bufio.Writer
	asJSON bool
	items  int

	rows   [][]string // of the table, not yet written
	widths []int      // of the columns so far, in characters
	number []bool     // the columns of numbers
}

func newListing(w io.Writer, asJSON bool, columns ...any) *listing {
	l := &listing{
		out: bufio.NewWriter(w), asJSON: asJSON, widths: make([]int, len(columns)), number: make([]bool, len(columns)),
	}
	if !asJSON {
		l.row(columns)
	}
	return l
}

// add prints the cells in a table, the item in an array.
func (l *listing) add(item any, cells ...any) error {
	l.items++
	if l.asJSON {
		text, err := json.Marshal(item)
		if err != nil {
			return err
		}
		before := ",\n"
		if l.items == 1 {
			before = "[\n"
		}
		_, err = l.out.WriteString(before + string(text))
		return err
	}
	l.row(cells)
	if l.items%tablePage == 0 {
		return l.flush()
	}
	return nil
}

func (l *listing) row(cells []any) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = printable(fmt.Sprint(cell))
		l.widths[i] = max(l.widths[i], utf8.RuneCountInString(row[i]))
		_, l.number[i] = cell.(int64)
	}
	l.rows = append(l.rows, row)
}

// flush writes the rows. Numbers are aligned to the right.
func (l *listing) flush() error {
	for _, row := range l.rows {
		var line strings.Builder
		for i, cell := range row {
			width := l.widths[i]
			if !l.number[i] {
				width = -width // to the left
			}
			fmt.Fprintf(&line, "%*s  ", width, cell)
		}
		fmt.Fprintln(l.out, strings.TrimRight(line.String(), " "))
	}
	l.rows = nil
	return l.out.Flush()
}

// end ends the output, unless the listing has failed.
func (l *listing) end(failure error) error {
	switch {
	case failure != nil:
		return failure
	case l.asJSON && l.items == 0:
		fmt.Fprintln(l.out, "[]")
	case l.asJSON:
		fmt.Fprint(l.out, "\n]\n")
	}
	return l.flush()
}

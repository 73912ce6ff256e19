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
	right  []bool     // the columns of numbers
}

func newListing(w io.Writer, asJSON bool, columns ...string) *listing {
	l := &listing{out: bufio.NewWriter(w), asJSON: asJSON}
	if len(columns) > 0 && !asJSON {
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
	text := make([]string, len(cells))
	l.right = make([]bool, len(cells))
	for i, cell := range cells {
		text[i] = printable(fmt.Sprint(cell))
		_, l.right[i] = cell.(int64)
	}
	l.row(text)
	if l.items%tablePage == 0 {
		return l.flush()
	}
	return nil
}

func (l *listing) row(cells []string) {
	l.rows = append(l.rows, cells)
	for i, cell := range cells {
		if i == len(l.widths) {
			l.widths = append(l.widths, 0)
		}
		l.widths[i] = max(l.widths[i], utf8.RuneCountInString(cell))
	}
}

// flush writes the rows. Numbers are aligned to the right.
func (l *listing) flush() error {
	for _, row := range l.rows {
		for i, cell := range row {
			padding := strings.Repeat(" ", l.widths[i]-utf8.RuneCountInString(cell))
			if row[i] = cell + padding; i < len(l.right) && l.right[i] {
				row[i] = padding + cell
			}
		}
		fmt.Fprintln(l.out, strings.TrimRight(strings.Join(row, "  "), " "))
	}
	l.rows = nil
	return l.out.Flush()
}

func (l *listing) end() error {
	switch {
	case !l.asJSON:
	case l.items == 0:
		fmt.Fprintln(l.out, "[]")
	default:
		fmt.Fprint(l.out, "\n]\n")
	}
	return l.flush()
}

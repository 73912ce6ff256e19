package commands

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// tablePage is the maximum number of lines that a table aligns together, and so has in memory.
const tablePage = 1000

// A listing prints an aligned table for people, or a JSON array for programs, as it comes.
type listing struct {
	out   *bufio.Writer
	table *tabwriter.Writer // nil: an array
	items int
}

func newListing(w io.Writer, asJSON bool, columns ...string) *listing {
	l := &listing{out: bufio.NewWriter(w)}
	if asJSON {
		return l
	}
	l.table = tabwriter.NewWriter(l.out, 0, 0, 2, ' ', 0)
	if len(columns) > 0 {
		fmt.Fprintln(l.table, strings.Join(columns, "\t"))
	}
	return l
}

// add prints the cells in a table, the item in an array.
func (l *listing) add(item any, cells ...any) error {
	l.items++
	if l.table == nil {
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
	for i, cell := range cells {
		text[i] = printable(fmt.Sprint(cell))
	}
	fmt.Fprintln(l.table, strings.Join(text, "\t"))
	if l.items%tablePage == 0 {
		return l.table.Flush()
	}
	return nil
}

func (l *listing) end() error {
	switch {
	case l.table != nil:
		if err := l.table.Flush(); err != nil {
			return err
		}
	case l.items == 0:
		fmt.Fprintln(l.out, "[]")
	default:
		fmt.Fprint(l.out, "\n]\n")
	}
	return l.out.Flush()
}

package commands

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// tablePage is how many lines of a table are aligned together: what a table may hold in memory.
const tablePage = 1000

// A listing is what a list command prints: a table for people or an array for programs. It is
// written as it comes.
type listing interface {
	add(item any, cells ...any) error
	end() error
}

var (
	_ listing = (*table)(nil)
	_ listing = (*array)(nil)
)

// A table is aligned page by page.
type table struct {
	out   *tabwriter.Writer
	lines int
}

func newTable(w io.Writer, columns ...string) *table {
	t := &table{out: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if len(columns) > 0 {
		fmt.Fprintln(t.out, strings.Join(columns, "\t"))
	}
	return t
}

func (t *table) add(_ any, cells ...any) error {
	text := make([]string, len(cells))
	for i, cell := range cells {
		text[i] = printable(fmt.Sprint(cell))
	}
	fmt.Fprintln(t.out, strings.Join(text, "\t"))
	if t.lines++; t.lines%tablePage == 0 {
		return t.out.Flush()
	}
	return nil
}

func (t *table) end() error { return t.out.Flush() }

// An array is a JSON array with one item a line.
type array struct {
	out   *bufio.Writer
	items int
}

func newArray(w io.Writer) *array { return &array{out: bufio.NewWriter(w)} }

func (a *array) add(item any, _ ...any) error {
	text, err := json.Marshal(item)
	if err != nil {
		return err
	}
	before := ",\n"
	if a.items == 0 {
		before = "[\n"
	}
	a.items++
	_, err = a.out.WriteString(before + string(text))
	return err
}

func (a *array) end() error {
	after := "\n]\n"
	if a.items == 0 {
		after = "[]\n"
	}
	_, err := a.out.WriteString(after)
	return errors.Join(err, a.out.Flush())
}

// printable is text as a terminal may be shown it: what others wrote into the tables may hold
// anything.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

package inventory

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ImportHeader is the first line of an import file; its columns may stand in any order.
const ImportHeader = "product_id,product_name,quantity"

// ReasonColumn may follow the others: it says why a row was refused once, and is not read.
const ReasonColumn = "reason"

const (
	maxIDRunes   = 100 // the column is varchar(100)
	maxNameRunes = 100 // likewise
	// maxImportLine is the longest line of an import file, in bytes: several times what the longest valid row needs.
	maxImportLine = 16 << 10
	// maxQuotedRunes is how much of a field a reason quotes.
	maxQuotedRunes = 40
)

// An importRow is one line of an import file.
type importRow struct {
	line      int
	text      string // as it stands in the file, without the line's end and an earlier reason
	productID string
	name      string // empty: the product keeps the name it has
	quantity  int64
	reason    string // why it is a bad row; empty: it is none so far
}

// An importFile reads an import's rows. No field of a valid row has a line break in it, so that a row is a line, and
// a quote that is never closed spoils its own line alone.
type importFile struct {
	source *bufio.Reader
	line   int     // the number of the last line that was read
	one    oneLine // what fields reads from
	fields *csv.Reader

	header                    string // without a reason's column
	productID, name, quantity int    // which column is which
	reasons                   bool   // a reason's column follows them
}

// openImport begins to read an import file, whose header it checks.
func openImport(source io.Reader) (*importFile, error) {
	f := &importFile{source: bufio.NewReaderSize(source, maxImportLine)}
	f.fields = csv.NewReader(&f.one)
	f.fields.FieldsPerRecord = -1 // a wrong number has a reason of our own
	f.fields.ReuseRecord = true
	text, _, err := f.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	header, err := f.split(bytes.TrimPrefix(text, []byte("\uFEFF")))
	if last := len(header) - 1; last > 0 && header[last] == ReasonColumn {
		header, f.reasons = header[:last], true
	}
	at := map[string]int{}
	for i, column := range header {
		at[column] = i
	}
	wanted := strings.Split(ImportHeader, ",")
	for _, column := range wanted {
		if _, found := at[column]; !found || len(header) != len(wanted) || err != nil {
			return nil, fmt.Errorf("line 1: want the header %s, got %s", ImportHeader, quote(string(text)))
		}
	}
	f.header = strings.Join(header, ",")
	f.productID, f.name, f.quantity = at[wanted[0]], at[wanted[1]], at[wanted[2]]
	return f, nil
}

// read returns the next row; io.EOF after the last.
func (f *importFile) read() (importRow, error) {
	for {
		text, whole, err := f.next()
		if err != nil {
			return importRow{}, err
		}
		row := importRow{line: f.line, text: string(text)}
		if !whole {
			row.reason = fmt.Sprintf("the line is longer than %d bytes", maxImportLine)
			return row, nil
		}
		fields, err := f.split(text)
		if f.reasons && len(fields) == f.fieldCount()+1 {
			fields = fields[:f.fieldCount()]
			row.text = joined(fields)
		}
		switch {
		case errors.Is(err, io.EOF):
			continue // an empty line
		case err != nil:
			row.reason = "not CSV: " + reasonOf(err)
		case len(fields) != f.fieldCount():
			row.reason = fmt.Sprintf("want %d fields, got %d", f.fieldCount(), len(fields))
		default:
			row.fill(fields[f.productID], fields[f.name], fields[f.quantity])
		}
		return row, nil
	}
}

func (f *importFile) fieldCount() int { return strings.Count(ImportHeader, ",") + 1 }

// joined writes fields as a line of a file.
func joined(fields []string) string {
	var line strings.Builder
	out := csv.NewWriter(&line)
	_ = out.Write(fields) // a builder takes everything
	out.Flush()
	return strings.TrimSuffix(line.String(), "\n")
}

// next returns the next line without its end, and whether that is all of it; of an overlong one it returns the
// beginning. The text is good until the next call.
func (f *importFile) next() (text []byte, whole bool, err error) {
	text, err = f.source.ReadSlice('\n')
	if len(text) > 0 {
		f.line++
	}
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		text = bytes.Clone(text)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = f.source.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, false, err
		}
		return text, false, nil
	case errors.Is(err, io.EOF) && len(text) > 0: // the last line has no end
	case err != nil:
		return nil, false, err
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r")), true, nil
}

// split returns a line's fields, which are good until the next call; io.EOF for an empty line.
func (f *importFile) split(line []byte) ([]string, error) {
	f.one.rest = line
	return f.fields.Read()
}

// oneLine gives a csv.Reader one line after the other, and at the end of each the end of the file.
type oneLine struct{ rest []byte }

func (o *oneLine) Read(p []byte) (int, error) {
	if len(o.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, o.rest)
	o.rest = o.rest[n:]
	return n, nil
}

// reasonOf is what encoding/csv found, without its own count of lines.
func reasonOf(err error) string {
	if syntax, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Sprintf("%v, at byte %d", syntax.Err, syntax.Column)
	}
	return err.Error()
}

// fill takes the row's fields, or says what is wrong with them.
func (r *importRow) fill(productID, name, quantity string) {
	r.productID, r.name = productID, name
	first, _ := utf8.DecodeRuneInString(productID)
	last, _ := utf8.DecodeLastRuneInString(productID)
	count := utf8.RuneCountInString(productID)
	switch {
	case !utf8.ValidString(productID):
		r.reason = "product_id: invalid UTF-8"
	case count < 1 || count > maxIDRunes:
		r.reason = fmt.Sprintf("product_id: want 1 to %d characters, got %d", maxIDRunes, count)
	case unicode.IsSpace(first) || unicode.IsSpace(last):
		r.reason = "product_id: want no white space at either end"
	case strings.ContainsFunc(productID, unicode.IsControl):
		r.reason = "product_id: want no control characters"
	case !utf8.ValidString(name):
		r.reason = "product_name: invalid UTF-8"
	case utf8.RuneCountInString(name) > maxNameRunes:
		r.reason = fmt.Sprintf("product_name: want at most %d characters, got %d", maxNameRunes, utf8.RuneCountInString(name))
	case strings.ContainsFunc(name, unicode.IsControl):
		r.reason = "product_name: want no control characters"
	default:
		var err error
		r.quantity, err = strconv.ParseInt(quantity, 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange) || r.quantity > MaxOnHand || r.quantity < -MaxOnHand:
			r.reason = fmt.Sprintf("quantity: want an integer up to %d, got %s", MaxOnHand, quote(quantity))
		case err != nil:
			r.reason = "quantity: want an integer, got " + quote(quantity)
		}
	}
}

// quote shows what stands in a file, shortened.
func quote(text string) string {
	if runes := []rune(text); len(runes) > maxQuotedRunes {
		return strconv.Quote(string(runes[:maxQuotedRunes])) + "…"
	}
	return strconv.Quote(text)
}

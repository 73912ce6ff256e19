package inventory

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
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
	columns      = 3   // of ImportHeader
	maxNameRunes = 100 // the column is varchar(100)
	// maxRecord is the maximum size of a record in bytes: several times what the longest valid row
	// needs. It bounds the memory that an unclosed quote takes.
	maxRecord = 16 << 10
	// maxQuotedRunes is how much of a field a reason quotes.
	maxQuotedRunes = 40
)

// An importRow is one record of an import file.
type importRow struct {
	BadRow        // its Reason is empty as long as the row is good
	end       int // the last line of the record
	productID string
	name      string // empty: the product keeps its name
	quantity  int64
}

// An importFile reads the records of an import file as RFC 4180 defines them.
type importFile struct {
	source recorder
	csv    *csv.Reader
	line   int  // the last line that was read
	ended  bool // by an unclosed quote

	header                    string // without a reason's column
	productID, name, quantity int    // which column is which
	reasons                   bool   // a reason's column follows them
}

// openImport begins to read an import file, whose header it checks.
func openImport(source io.Reader, delimiter rune) (*importFile, error) {
	in := bufio.NewReader(source)
	if start, _ := in.Peek(len(byteOrderMark)); string(start) == byteOrderMark {
		_, _ = in.Discard(len(byteOrderMark)) // it is buffered
	}
	f := &importFile{source: recorder{source: in}}
	f.csv = csv.NewReader(&f.source)
	f.csv.Comma = delimiter
	f.csv.FieldsPerRecord = -1 // a wrong number has a reason of our own
	f.csv.ReuseRecord = true
	header, text, err := f.next()
	_, syntax := errors.AsType[*csv.ParseError](err)
	if err != nil && !errors.Is(err, io.EOF) && !syntax {
		return nil, err
	}
	if last := len(header) - 1; last > 0 && header[last] == ReasonColumn {
		header, f.reasons = header[:last], true
	}
	wanted := strings.Split(ImportHeader, ",") // which are in alphabetical order
	if err != nil || !slices.Equal(slices.Sorted(slices.Values(header)), wanted) {
		return nil, fmt.Errorf("line 1: want the header %s, got %s%s",
			strings.Join(wanted, string(delimiter)), quote(text), delimiterHint(text, delimiter))
	}
	f.header = strings.Join(header, string(delimiter))
	f.productID, f.name = slices.Index(header, wanted[0]), slices.Index(header, wanted[1])
	f.quantity = slices.Index(header, wanted[2])
	return f, nil
}

const byteOrderMark = "\uFEFF"

// delimiterHint names the delimiter that a header seems to have, if it is another one.
func delimiterHint(header string, delimiter rune) string {
	for _, other := range ",;\t" {
		if other != delimiter && strings.Count(header, string(other)) >= columns-1 {
			return fmt.Sprintf(" (its delimiter seems to be %q: use --delimiter)", other)
		}
	}
	return ""
}

// chunk returns the next rows, at most the given number; none after the last.
func (f *importFile) chunk(most int) (rows []*importRow, err error) {
	for len(rows) < most {
		row, err := f.read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// read returns the next row; io.EOF after the last. After a record with an unclosed quote it reads
// no more: what follows cannot be told from the field's text.
func (f *importFile) read() (*importRow, error) {
	if f.ended {
		return nil, io.EOF
	}
	before := f.line
	fields, text, err := f.next()
	emptyLines := strings.Count(text, "\n") - strings.Count(strings.TrimLeft(text, "\r\n"), "\n")
	row := &importRow{end: f.line}
	row.Line, row.Header, row.Text = before+1+emptyLines, f.header, strings.Trim(text, "\r\n")
	if f.reasons && err == nil && len(fields) == columns+1 {
		fields = fields[:columns]
		row.Text = f.joined(fields)
	}
	syntax, malformed := errors.AsType[*csv.ParseError](err)
	unclosed := malformed && strings.Count(text, `"`)%2 == 1 && f.source.ended
	switch {
	case unclosed, errors.Is(err, errRecordTooLong):
		f.ended = true
		row.Text = ""
		row.Reason = "the record is longer than " + strconv.Itoa(maxRecord) + " bytes"
		if unclosed || strings.Contains(text, `"`) {
			row.Reason = "a quote is not closed"
		}
		row.Reason += ": the import ends here, and what follows was not read"
	case malformed:
		row.Reason = fmt.Sprintf("not CSV: %v, at byte %d", syntax.Err, syntax.Column)
	case err != nil:
		return nil, err
	case len(fields) != columns:
		row.Reason = fmt.Sprintf("want %d fields, got %d", columns, len(fields))
	default:
		row.fill(fields[f.productID], fields[f.name], fields[f.quantity])
	}
	return row, nil
}

// joined writes fields as a record of the file.
func (f *importFile) joined(fields []string) string {
	var line strings.Builder
	out := csv.NewWriter(&line)
	out.Comma = f.csv.Comma
	_ = out.Write(fields) // a builder accepts all
	out.Flush()
	return strings.TrimSuffix(line.String(), "\n")
}

// next returns the next record's fields and text, which may begin with empty lines.
func (f *importFile) next() (fields []string, text string, err error) {
	fields, err = f.csv.Read()
	text = f.source.upTo(f.csv.InputOffset())
	f.line += strings.Count(text, "\n")
	if text != "" && !strings.HasSuffix(text, "\n") {
		f.line++
	}
	return fields, text, err
}

// errRecordTooLong means that a record is longer than maxRecord.
var errRecordTooLong = errors.New("the record is too long")

// A recorder keeps the text of the record that a csv.Reader is reading.
type recorder struct {
	source   io.Reader
	recorded bytes.Buffer
	offset   int64 // of the first recorded byte
	ended    bool  // the source has no more
}

// readAhead is the size of a csv.Reader's own buffer.
const readAhead = 4 << 10

func (r *recorder) Read(p []byte) (int, error) {
	if r.recorded.Len() > maxRecord+readAhead {
		return 0, errRecordTooLong
	}
	n, err := r.source.Read(p)
	r.recorded.Write(p[:n])
	r.ended = r.ended || errors.Is(err, io.EOF)
	return n, err
}

// upTo returns what was read up to an offset, and forgets it.
func (r *recorder) upTo(offset int64) string {
	text := string(r.recorded.Next(int(offset - r.offset)))
	r.offset = offset
	return text
}

// fill takes the row's fields, or says what is wrong with them.
func (r *importRow) fill(productID, name, quantity string) {
	r.productID, r.name = productID, name
	problem := CheckID(productID)
	switch {
	case problem != "":
		r.Reason = "product_id: " + problem
	case !utf8.ValidString(name):
		r.Reason = "product_name: want UTF-8"
	case utf8.RuneCountInString(name) > maxNameRunes:
		r.Reason = fmt.Sprintf("product_name: want at most %d characters, got %d",
			maxNameRunes, utf8.RuneCountInString(name))
	case strings.ContainsFunc(name, unicode.IsControl):
		r.Reason = "product_name: want no control characters"
	default:
		var err error
		r.quantity, err = strconv.ParseInt(quantity, 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange) || r.quantity > MaxOnHand || r.quantity < -MaxOnHand:
			r.Reason = fmt.Sprintf("quantity: want an integer up to %d, got %s", MaxOnHand, quote(quantity))
		case err != nil:
			r.Reason = "quantity: want an integer, got " + quote(quantity)
		}
	}
}

// quote quotes a file's text, shortened.
func quote(text string) string {
	if runes := []rune(text); len(runes) > maxQuotedRunes {
		return strconv.Quote(string(runes[:maxQuotedRunes])) + "…"
	}
	return strconv.Quote(text)
}

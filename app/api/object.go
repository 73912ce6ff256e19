package api

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxIDRunes is the maximum length of an ID in characters: the columns are varchar(100).
	maxIDRunes = 100
	// maxQuantity is the maximum quantity in units: the columns are int.
	maxQuantity = math.MaxInt32
	// maxQuotedBytes is the maximum length of a caller's text in a message, in bytes.
	maxQuotedBytes = 40
)

// A member is one member of a request's body, and where its value goes: id or quantity.
type member struct {
	name     string
	id       *string
	quantity *int64
	least    int64 // of a quantity
}

func (m member) parse(value jsontext.Value) (err error) {
	if m.id != nil {
		*m.id, err = parseID(m.name, value)
	} else {
		*m.quantity, err = parseQuantity(m.name, value, m.least)
	}
	return err
}

// parseObject reads the members of body, which must be one JSON object with just these, each once.
// jsontext rejects repeated names, invalid UTF-8 and lone surrogates. The error is a refusal of 400
// that names the field and what was expected.
func parseObject(body []byte, members ...member) error {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(body))
	if kind := decoder.PeekKind(); kind != '{' && kind != 0 {
		return badRequest("body: want one JSON object with %s, got %s", namesOf(members), describe(kind))
	}
	if _, err := decoder.ReadToken(); err != nil {
		return syntaxError(err)
	}
	seen := 0
	for decoder.PeekKind() == '"' {
		name, err := decoder.ReadToken()
		if err != nil {
			return syntaxError(err)
		}
		field := name.String()
		i := slices.IndexFunc(members, func(m member) bool { return m.name == field })
		if i < 0 {
			return unknownField(field, members)
		}
		value, err := decoder.ReadValue()
		if err != nil {
			return syntaxError(err)
		}
		if err := members[i].parse(value); err != nil {
			return err
		}
		seen |= 1 << i
	}
	if _, err := decoder.ReadToken(); err != nil { // the closing brace
		return syntaxError(err)
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return badRequest("body: want one JSON object and nothing after it")
	}
	for i, m := range members {
		if seen&(1<<i) == 0 {
			return badRequest("%s: missing", m.name)
		}
	}
	return nil
}

func namesOf(members []member) string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.name
	}
	return strings.Join(names, ", ")
}

// syntaxError names the member that jsontext rejects.
func syntaxError(err error) error {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	field := "body"
	if ok && syntax.JSONPointer != "" {
		field = shorten(syntax.JSONPointer.LastToken())
	}
	switch {
	case errors.Is(err, io.EOF):
		return badRequest("body: want one JSON object, got nothing")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return badRequest("%s: want it once, got it again", field)
	case ok:
		return badRequest("%s: want one JSON object in UTF-8: %v at byte %d", field, syntax.Err, syntax.ByteOffset)
	}
	return badRequest("body: want one JSON object in UTF-8")
}

func unknownField(sent string, members []member) error {
	for _, m := range members {
		if strings.EqualFold(sent, m.name) {
			return badRequest("%s: want the field as %s: upper and lower case count", shorten(sent), m.name)
		}
	}
	return badRequest("%s: unknown field: want %s", shorten(sent), namesOf(members))
}

// parseID reads a value as the ID of a client or a product.
func parseID(field string, value jsontext.Value) (string, error) {
	if value.Kind() != '"' {
		return "", badRequest("%s: want a string, got %s", field, describe(value.Kind()))
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return "", badRequest("%s: want a string in UTF-8", field)
	}
	id := string(text)
	if problem := checkID(id); problem != "" {
		return "", badRequest("%s: %s", field, problem)
	}
	return id, nil
}

// checkID says what is wrong with an ID, or nothing.
func checkID(id string) string {
	if !utf8.ValidString(id) {
		return "want UTF-8"
	}
	if count := utf8.RuneCountInString(id); count < 1 || count > maxIDRunes {
		return fmt.Sprintf("want 1 to %d Unicode characters, got %d", maxIDRunes, count)
	}
	first, _ := utf8.DecodeRuneInString(id)
	last, _ := utf8.DecodeLastRuneInString(id)
	if unicode.IsSpace(first) || unicode.IsSpace(last) {
		return "want no white space at either end"
	}
	if at := strings.IndexFunc(id, unicode.IsControl); at >= 0 {
		r, _ := utf8.DecodeRuneInString(id[at:])
		return fmt.Sprintf("want no control characters, got U+%04X", r)
	}
	return ""
}

// parseQuantity reads a value as a number of units. ParseInt accepts no fraction and no exponent,
// but a minus before 0.
func parseQuantity(field string, value jsontext.Value, least int64) (int64, error) {
	if value.Kind() != '0' {
		return 0, badRequest("%s: want an integer from %d to %d, got %s", field, least, maxQuantity, describe(value.Kind()))
	}
	if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && n >= least && n <= maxQuantity && value[0] != '-' {
		return n, nil
	}
	return 0, badRequest("%s: want an integer from %d to %d, without fraction or exponent, got %s",
		field, least, maxQuantity, shorten(string(value)))
}

// kindNames are the names of the kinds of a JSON value. All others are numbers.
var kindNames = map[jsontext.Kind]string{
	'{': "an object", '[': "an array", '"': "a string", 'n': "null", 't': "a boolean", 'f': "a boolean",
}

func describe(kind jsontext.Kind) string { return cmp.Or(kindNames[kind], "a number") }

// shorten returns a caller's text in a form that fits a message.
func shorten(sent string) string {
	if len(sent) <= maxQuotedBytes {
		return strings.ToValidUTF8(sent, "\uFFFD")
	}
	return strings.ToValidUTF8(sent[:maxQuotedBytes], "") + "…"
}

package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxIDRunes  = 100           // the columns that hold them are varchar(100)
	maxQuantity = math.MaxInt32 // the columns that hold it are int

	maxQuotedBytes = 40 // of what a caller sent, in a message about it
)

// An object is a JSON object of which every member is looked at once, in order. Whether the text is JSON at all is
// for encoding/json to say; what it lets pass and we do not is found here: names in another case, names that come
// twice, invalid UTF-8 and lone surrogates (which it silently replaces), fractions and exponents.
type object struct {
	name  string // of the member that next found: one of fields
	value []byte // and how its value begins
	err   error  // why next stopped, if not because all is well

	fields []string
	rest   []byte
	seen   uint // a bit for each of fields
}

// openObject begins to read body, whose fields must be these, each once.
func openObject(body []byte, fields []string) (object, error) {
	o := object{fields: fields}
	if !json.Valid(body) {
		return o, syntaxError(body)
	}
	text := skipSpace(body)
	if text[0] != '{' {
		return o, badRequest("body: want one JSON object with %s, got %s", strings.Join(fields, ", "), describe(text))
	}
	o.rest = text[1:]
	return o, nil
}

func syntaxError(body []byte) error {
	if len(skipSpace(body)) == 0 {
		return badRequest("body: want one JSON object, got nothing")
	}
	err := json.Unmarshal(body, new(json.RawMessage))
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return badRequest("body: want one JSON object and nothing after it: %s at byte %d", syntax, syntax.Offset)
	}
	return badRequest("body: want one JSON object and nothing after it")
}

// next moves to the next member. After the last it reports false, and err says what is missing.
func (o *object) next() bool {
	rest := skipSpace(o.rest)
	if rest[0] == '}' {
		for i, field := range o.fields {
			if o.seen&(1<<i) == 0 {
				o.err = badRequest("%s: missing", field)
				break
			}
		}
		return false
	}
	if rest[0] == ',' {
		rest = skipSpace(rest[1:])
	}

	end := stringEnd(rest)
	i, err := o.index(rest[:end])
	if err != nil {
		o.err = err
		return false
	}
	if o.seen&(1<<i) != 0 {
		o.err = badRequest("%s: want it once, got it again", o.fields[i])
		return false
	}
	o.seen |= 1 << i
	o.name = o.fields[i]
	rest = skipSpace(rest[end:])
	o.value = skipSpace(rest[1:]) // after the colon
	return true
}

// index finds the field that a member's quoted name is.
func (o *object) index(quoted []byte) (int, error) {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		decoded, problem := unquote(quoted)
		if problem != "" {
			return 0, badRequest("body: want names of fields that are Unicode, got %s", problem)
		}
		name = []byte(decoded)
	}
	for i, field := range o.fields {
		if string(name) == field {
			return i, nil
		}
	}
	sent := string(name)
	for _, field := range o.fields {
		if strings.EqualFold(sent, field) {
			return 0, badRequest("%s: want the field as %s: upper and lower case count", shorten(sent), field)
		}
	}
	return 0, badRequest("%s: unknown field: want %s", shorten(sent), strings.Join(o.fields, ", "))
}

// id reads the member's value as the ID of a client or a product.
func (o *object) id() (string, error) {
	const want = "want 1 to %d Unicode characters"
	if o.value[0] != '"' {
		return "", badRequest("%s: want a string, got %s", o.name, describe(o.value))
	}
	end := stringEnd(o.value)
	id, problem := unquote(o.value[:end])
	o.rest = o.value[end:]
	if problem != "" {
		return "", badRequest("%s: "+want+", got %s", o.name, maxIDRunes, problem)
	}
	if count := utf8.RuneCountInString(id); count < 1 || count > maxIDRunes {
		return "", badRequest("%s: "+want+", got %d", o.name, maxIDRunes, count)
	}
	first, _ := utf8.DecodeRuneInString(id)
	last, _ := utf8.DecodeLastRuneInString(id)
	if unicode.IsSpace(first) || unicode.IsSpace(last) {
		return "", badRequest("%s: want no white space at either end", o.name)
	}
	if at := strings.IndexFunc(id, unicode.IsControl); at >= 0 {
		r, _ := utf8.DecodeRuneInString(id[at:])
		return "", badRequest("%s: want no control characters, got U+%04X", o.name, r)
	}
	return id, nil
}

// quantity reads the member's value as a number of units.
func (o *object) quantity() (int64, error) {
	end := bytes.IndexAny(o.value, ",} \t\r\n") // of a number; other values are refused, so that it does not matter
	number := o.value[:end]
	o.rest = o.value[end:]
	if c := number[0]; c == '-' || '0' <= c && c <= '9' {
		// ParseInt reads no fraction and no exponent. What JSON allows and it does not, or the other way round, is
		// neither here: JSON has no leading zeros, plus signs or underscores.
		if n, err := strconv.ParseInt(string(number), 10, 64); err == nil && n >= 1 && n <= maxQuantity {
			return n, nil
		}
		return 0, badRequest("%s: want an integer from 1 to %d, without fraction or exponent, got %s",
			o.name, maxQuantity, shorten(string(number)))
	}
	return 0, badRequest("%s: want an integer from 1 to %d, got %s", o.name, maxQuantity, describe(o.value))
}

// unquote decodes a JSON string, quotes included. The problem it reports is one that encoding/json would paper
// over with U+FFFD.
func unquote(quoted []byte) (decoded, problem string) {
	if !utf8.Valid(quoted) {
		return "", "invalid UTF-8"
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), ""
	}
	return unescape(quoted)
}

// unescape is unquote where there are escapes. It is apart so that the others, nearly all, cost one allocation.
func unescape(quoted []byte) (decoded, problem string) {
	if hasLoneSurrogate(quoted) {
		return "", "half of a surrogate pair"
	}
	if err := json.Unmarshal(quoted, &decoded); err != nil {
		return "", "what is no JSON string" // never: the whole body was valid
	}
	return decoded, ""
}

// hasLoneSurrogate looks for an escaped half of a UTF-16 pair without its other half.
func hasLoneSurrogate(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // at what is escaped; a backslash among the rest
		if text[i] != 'u' {
			continue
		}
		switch half := hex4(text[i+1:]); {
		case 0xDC00 <= half && half < 0xE000:
			return true
		case 0xD800 <= half && half < 0xDC00:
			after := text[i+5:]
			if len(after) < 6 || after[0] != '\\' || after[1] != 'u' {
				return true
			}
			if other := hex4(after[2:]); other < 0xDC00 || other >= 0xE000 {
				return true
			}
			i += 6 // past the second half, too
		}
		i += 4
	}
	return false
}

// hex4 reads the four hexadecimal digits that JSON's grammar promises.
func hex4(digits []byte) (v rune) {
	for _, c := range digits[:4] {
		v <<= 4
		switch {
		case c <= '9':
			v |= rune(c - '0')
		default:
			v |= rune(c|0x20-'a') + 10
		}
	}
	return v
}

// stringEnd returns where the JSON string that text begins with ends, quotes included.
func stringEnd(text []byte) int {
	for i := 1; ; i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

func skipSpace(text []byte) []byte {
	for i, c := range text {
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return text[i:]
		}
	}
	return nil
}

// describe names the kind of the JSON value that text begins with.
func describe(text []byte) string {
	switch text[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	}
	return "a number"
}

// shorten makes what a caller sent fit for a message.
func shorten(sent string) string {
	if len(sent) <= maxQuotedBytes {
		return strings.ToValidUTF8(sent, "\uFFFD")
	}
	return strings.ToValidUTF8(sent[:maxQuotedBytes], "") + "…"
}

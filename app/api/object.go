package api

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"cartwheel/inventory"
)

const (
	// maxQuantity is the maximum quantity in units: the columns are int.
	maxQuantity = math.MaxInt32
	// maxQuotedBytes is the maximum length of a caller's text in a message, in bytes.
	maxQuotedBytes = 40
)

// A positive is a number of units from 1.
type positive int64

// readMembers reads the members of a request by their Go types: IDs, and quantities from 1 or 0.
var readMembers = json.WithUnmarshalers(json.JoinUnmarshalers(
	json.UnmarshalFromFunc(readID),
	json.UnmarshalFromFunc(func(d *jsontext.Decoder, units *positive) error { return readQuantity(d, (*int64)(units), 1) }),
	json.UnmarshalFromFunc(func(d *jsontext.Decoder, units *int64) error { return readQuantity(d, units, 0) }),
))

// parseObject reads body into request, a pointer to a struct. The body must be one JSON object with
// just the struct's fields, each once. jsontext rejects repeated names, invalid UTF-8 and lone
// surrogates. The error is a failure of 400 that names the field and what was expected.
func parseObject(body []byte, request any) error {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(body))
	if kind := decoder.PeekKind(); kind != '{' && kind != 0 {
		return badRequest("body: want one JSON object with %s, got %s",
			strings.Join(fieldNames(request), ", "), describe(kind))
	}
	if err := json.UnmarshalDecode(decoder, request, json.RejectUnknownMembers(true), readMembers); err != nil {
		return parseError(err, fieldNames(request))
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return badRequest("body: want one JSON object and nothing after it")
	}
	fields := reflect.ValueOf(request).Elem()
	for i := range fields.NumField() {
		if fields.Field(i).IsZero() {
			return badRequest("%s: missing", fieldNames(request)[i])
		}
	}
	return nil
}

// fieldNames returns the names of a struct's fields in JSON.
func fieldNames(request any) (names []string) {
	for field := range reflect.TypeOf(request).Elem().Fields() {
		names = append(names, field.Tag.Get("json"))
	}
	return names
}

// parseError names the member that is rejected.
func parseError(err error, names []string) error {
	if own, ok := errors.AsType[*failure](err); ok {
		return own
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok && errors.Is(err, json.ErrUnknownName) {
		return unknownField(semantic.JSONPointer.LastToken(), names)
	}
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

func unknownField(sent string, names []string) error {
	for _, name := range names {
		if strings.EqualFold(sent, name) {
			return badRequest("%s: want the field as %s: upper and lower case count", shorten(sent), name)
		}
	}
	return badRequest("%s: unknown field: want %s", shorten(sent), strings.Join(names, ", "))
}

// fieldOf returns the name of the member that was read last.
func fieldOf(decoder *jsontext.Decoder) string { return decoder.StackPointer().LastToken() }

// readID reads the ID of a client, a product or a checkout.
func readID(decoder *jsontext.Decoder, id *string) error {
	token, err := decoder.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '"' {
		return badRequest("%s: want a string, got %s", fieldOf(decoder), describe(token.Kind()))
	}
	*id = token.String()
	if problem := inventory.CheckID(*id); problem != "" {
		return badRequest("%s: %s", fieldOf(decoder), problem)
	}
	return nil
}

// readQuantity reads a number of units. ParseInt accepts no fraction and no exponent, but a minus
// before 0.
func readQuantity(decoder *jsontext.Decoder, units *int64, least int64) error {
	token, err := decoder.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '0' {
		return badRequest("%s: want an integer from %d to %d, got %s", fieldOf(decoder), least, maxQuantity, describe(token.Kind()))
	}
	text := token.String()
	*units, err = strconv.ParseInt(text, 10, 64)
	if err != nil || *units < least || *units > maxQuantity || text[0] == '-' {
		return badRequest("%s: want an integer from %d to %d, without fraction or exponent, got %s",
			fieldOf(decoder), least, maxQuantity, shorten(text))
	}
	return nil
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

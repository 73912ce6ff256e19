package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParseAddToCart_validBodies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 100)
	for body, want := range map[string]addToCartRequest{
		validAdd: {"alice", "tea", 2},
		" \t\r\n{ \"quantity\" : 2147483647 ,\n\"productID\":\"tea\" , \"clientID\" : \"alice\" } \n": {"alice", "tea", 2147483647},
		`{"clientID":"` + long + `","productID":"茶","quantity":1}`:                                    {long, "茶", 1},
		`{"clientID":"a\"b\\c\/d","productID":"\u00fc\ud83c\udf75 x","quantity":1}`:                   {`a"b\c/d`, "ü🍵 x", 1},
		`{"client\u0049D":"<&>","productID":"\\ud800","quantity":10}`:                                 {"<&>", `\ud800`, 10},
		`{"clientID":"` + "\uFFFD" + `","productID":"\uFFFD","quantity":10}`:                          {"\uFFFD", "\uFFFD", 10},
		`{"clientID":"},{","productID":"\":","quantity":1}`:                                           {"},{", `":`, 1},
	} {
		got, err := parseAdd(body)
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
}

func TestParseAddToCart_invalidBodyNamesFieldAndReason(t *testing.T) {
	t.Parallel()
	quantity := func(literal string) string {
		return `{"clientID":"a","productID":"p","quantity":` + literal + `}`
	}
	client := func(literal string) string {
		return `{"clientID":` + literal + `,"productID":"p","quantity":1}`
	}
	const wantInteger = "quantity: want an integer from 1 to 2147483647"
	for _, test := range []struct{ body, words string }{
		{"", "body: want one JSON object, got nothing"},
		{" \n", "body: want one JSON object, got nothing"},
		{"null", "got null"},
		{"[]", "got an array"},
		{`[` + validAdd + `]`, "got an array"},
		{`"a"`, "got a string"},
		{"1", "got a number"},
		{"true", "got a boolean"},
		{"{", "body: want one JSON object in UTF-8: unexpected EOF"},
		{"{}", "clientID: missing"},
		{validCheckOut, "productID: missing"},
		{`{"clientID":"a","productID":"p"}`, "quantity: missing"},
		{validAdd + validAdd, "nothing after it"},
		{validAdd + "x", "nothing after it"},
		{validAdd + "\x00", "nothing after it"},
		{"\xEF\xBB\xBF" + validAdd, "invalid character"},
		{`{"clientID":"a",}`, "invalid character ','"},
		{`{'clientID':'a'}`, "invalid character"},
		{`{"clientID":"a","productID":"p","quantity":1/**/}`, "invalid character '/'"},
		{`{"clientID":"a","productID":"p","quantity":1,"x":1}`, "x: unknown field: want clientID, productID, quantity"},
		{`{"clientID":"a","productID":"p","quantity":1,"` + strings.Repeat("ü", 90) + `":1}`, "…: unknown field"},
		{`{"":1}`, ": unknown field"},
		{`{"clientid":"a","productID":"p","quantity":1}`, "clientid: want the field as clientID: upper and lower case count"},
		{`{"clientID":"a","productID":"p","quantity":1,"Quantity":1}`, "Quantity: want the field as quantity"},
		{`{"clientID":"a","productID":"p","quantity":1,"quantity":1}`, "quantity: want it once"},
		{`{"clientID":"a","client\u0049D":"a","productID":"p","quantity":1}`, "clientID: want it once"},
		{`{"\ud800":1}`, "body: want one JSON object in UTF-8: invalid surrogate pair"},
		{"{\"\xff\":1}", "body: want one JSON object in UTF-8: invalid UTF-8"},

		{quantity("0"), wantInteger}, {quantity("-0"), wantInteger}, {quantity("-1"), wantInteger},
		{quantity("1.0"), wantInteger + ", without fraction or exponent, got 1.0"},
		{quantity("1e3"), wantInteger + ", without fraction or exponent, got 1e3"},
		{quantity("1E0"), wantInteger}, {quantity("2147483648"), wantInteger + ", without fraction or exponent, got 2147483648"},
		{quantity("4294967297"), wantInteger}, {quantity("18446744073709551617"), wantInteger},
		{quantity("1" + strings.Repeat("0", 400)), wantInteger},
		{quantity("null"), wantInteger + ", got null"}, {quantity(`"1"`), wantInteger + ", got a string"},
		{quantity("true"), wantInteger + ", got a boolean"}, {quantity("[1]"), wantInteger + ", got an array"},
		{quantity("{}"), wantInteger + ", got an object"},
		{quantity("01"), wantInteger}, {quantity("+1"), "invalid character '+'"},
		{quantity("1_0"), "invalid character '_'"}, {quantity("0x1"), wantInteger}, {quantity("NaN"), "invalid character 'N'"},

		{client("null"), "clientID: want a string, got null"}, {client("1"), "clientID: want a string, got a number"},
		{client(`["a"]`), "clientID: want a string, got an array"}, {client(`{"a":"b"}`), "clientID: want a string, got an object"},
		{client("false"), "clientID: want a string, got a boolean"},
		{client(`""`), "clientID: want 1 to 100 Unicode characters, got 0"},
		{client(`"` + strings.Repeat("ü", 101) + `"`), "clientID: want 1 to 100 Unicode characters, got 101"},
		{client(`" a"`), "clientID: want no white space at either end"}, {client(`"a "`), "white space"},
		{client(`"\u00a0a"`), "white space"}, {client(`"a\u2003"`), "white space"}, {client(`"\n"`), "white space"}, {client(`"\u0085a"`), "white space"},
		{client(`"a\u0000b"`), "clientID: want no control characters, got U+0000"},
		{client(`"a\tb"`), "got U+0009"}, {client("\"a\x7fb\""), "got U+007F"}, {client(`"a\u009fb"`), "got U+009F"},
		{client("\"a\tb\""), `clientID: want one JSON object in UTF-8: invalid character '\t' in string`},
		{client("\"a\xffb\""), "clientID: want one JSON object in UTF-8: invalid UTF-8"},
		{client("\"a\xed\xa0\x80b\""), "clientID: want one JSON object in UTF-8: invalid UTF-8"}, {client("\"a\xc0\xafb\""), "clientID: want one JSON object in UTF-8: invalid UTF-8"},
		{client("\"a\xffb\\n\""), "clientID: want one JSON object in UTF-8: invalid UTF-8"},
		{client(`"a\ud800b"`), "clientID: want one JSON object in UTF-8: invalid surrogate pair"},
		{client(`"\ud800"`), "surrogate"}, {client(`"\udc00"`), "surrogate"}, {client(`"\udc00\ud800"`), "surrogate"},
		{client(`"\ud800\ud800\udc00"`), "surrogate"}, {client(`"\ud83c\udf75\udf75"`), "surrogate"},
		{client(`"\uD83C\\udf75"`), "surrogate"}, {client(`"\ud800\n"`), "surrogate"}, {client(`"\ud800\u0041"`), "surrogate"},
		{client(`"\ud800` + "\U0001F375" + `"`), "surrogate"},
		{client(`"\x41"`), "clientID: want one JSON object in UTF-8: invalid escape sequence"},
	} {
		_, err := parseAdd(test.body)
		r, ok := errors.AsType[*failure](err)
		if !ok || r.status != http.StatusBadRequest || !strings.Contains(r.message, test.words) {
			t.Errorf("%q: got %v, want a 400 with %q", test.body, err, test.words)
		}
		if ok && (!utf8.ValidString(r.message) || len(r.message) > 300) {
			t.Errorf("%q: the message %q is not fit to be read", test.body, r.message)
		}
	}
}

func parseAdd(body string) (request addToCartRequest, err error) {
	err = parseObject([]byte(body), &request)
	return request, err
}

func parseCheckOut(body string) (request clientRequest, err error) {
	err = parseObject([]byte(body), &request)
	return request, err
}

func TestParseCheckOutCart_namesTheField(t *testing.T) {
	t.Parallel()
	if got, err := parseCheckOut(validCheckOut); err != nil || got.ClientID != "alice" {
		t.Errorf("got %v, %v", got, err)
	}
	for body, words := range map[string]string{
		"{}":                              "clientID: missing",
		validAdd:                          "productID: unknown field: want clientID",
		`{"clientID":"a","clientID":"a"}`: "clientID: want it once",
		`{"clientID":7}`:                  "clientID: want a string, got a number",
	} {
		if _, err := parseCheckOut(body); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, want %q", body, err, words)
		}
	}
}

// FuzzParse holds the parser against one that is slow and obvious: encoding/json's own tokens, one
// at a time.
func FuzzParse(f *testing.F) {
	for _, body := range []string{
		validAdd, validCheckOut, "", "null", "{}", "[]", `{"clientID":"a","productID":"p","quantity":1.0}`,
		`{"clientID":"\ud83c\udf75","productID":"\ud800","quantity":1e3}`, `{"client\u0049D":"a","clientID":"b"}`,
		"{\"clientID\":\"\xff\",\"productID\":\"\\\\\",\"quantity\":2147483648}", `{"quantity":-0}`, `{"quantity":12}}`,
		`{"clientID":{"clientID":"a"}}`, " {\n\"clientID\" :\t\"a b\"\r} ", `{"clientID":"a","productID":"p","quantity":7} {}`,
		`{"clientID":"\\ud800","productID":"\u2028","quantity":1}`, `{"clientID":"a\u0000"}`, `{"clientID":" a"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		add, addErr := parseAdd(string(body))
		want, wantErr := oracle(body, true)
		if (addErr == nil) != (wantErr == nil) || addErr == nil && add != want {
			t.Errorf("addToCart %q: got %v, %v; the oracle says %v, %v", body, add, addErr, want, wantErr)
		}
		purchase, purchaseErr := parseCheckOut(string(body))
		want, wantErr = oracle(body, false)
		if (purchaseErr == nil) != (wantErr == nil) || purchaseErr == nil && purchase.ClientID != want.ClientID {
			t.Errorf("checkOutCart %q: got %v, %v; the oracle says %v, %v", body, purchase, purchaseErr, want, wantErr)
		}
	})
}

var (
	escapes    = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)
	wholeValue = regexp.MustCompile(`^[0-9]+$`)
)

func oracle(body []byte, isAdd bool) (addToCartRequest, error) {
	var none, request addToCartRequest
	if !utf8.Valid(body) {
		return none, errors.New("invalid UTF-8")
	}
	high := false // was the last thing an escaped first half?
	end := 0
	for _, at := range escapes.FindAllIndex(body, -1) {
		escape := string(body[at[0]:at[1]])
		unit := uint64(0)
		if len(escape) == 6 {
			unit, _ = strconv.ParseUint(escape[2:], 16, 16)
		}
		low := unit>>10 == 0xDC00>>10
		if low != (high && at[0] == end) || high && !low {
			return none, errors.New("lone surrogate")
		}
		high, end = unit>>10 == 0xD800>>10, at[1]
	}
	if high {
		return none, errors.New("lone surrogate")
	}

	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return none, fmt.Errorf("no object: %v %w", token, err)
	}
	seen := map[string]bool{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return none, err
		}
		value, err := decoder.Token()
		if err != nil {
			return none, err
		}
		field := name.(string)
		if seen[field] {
			return none, errors.New("twice")
		}
		seen[field] = true
		switch {
		case field == "clientID" || field == "productID" && isAdd:
			id, ok := value.(string)
			if !ok || id == "" || len([]rune(id)) > 100 || strings.TrimFunc(id, unicode.IsSpace) != id || strings.ContainsFunc(id, unicode.IsControl) {
				return none, errors.New("no ID")
			}
			if field == "clientID" {
				request.ClientID = id
			} else {
				request.ProductID = id
			}
		case field == "quantity" && isAdd:
			number, ok := value.(json.Number)
			if !ok || !wholeValue.MatchString(number.String()) {
				return none, errors.New("no integer")
			}
			n, err := strconv.ParseInt(number.String(), 10, 32)
			if err != nil || n < 1 {
				return none, errors.New("out of range")
			}
			request.Quantity = positive(n)
		default:
			return none, errors.New("unknown field")
		}
	}
	if _, err := decoder.Token(); err != nil {
		return none, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return none, errors.New("trailing data")
	}
	if want := map[bool]int{true: 3, false: 1}[isAdd]; len(seen) != want {
		return none, errors.New("missing field")
	}
	return request, nil
}

func BenchmarkParseAddToCart(b *testing.B) {
	for name, body := range map[string]string{
		"plain":   `{"clientID":"client-1234567","productID":"product-1234","quantity":12}`,
		"escaped": `{"clientID":"client-\u0031\ud83c\udf75","productID":"product\/1234","quantity":12}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parseAdd(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package inventory

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxIDRunes is the maximum length of an ID in characters: the columns are varchar(100).
const maxIDRunes = 100

// CheckID returns what is wrong with the ID of a client, a product or a checkout, or "".
func CheckID(id string) string {
	if !utf8.ValidString(id) {
		return "want UTF-8"
	}
	if count := utf8.RuneCountInString(id); count < 1 || count > maxIDRunes {
		return fmt.Sprintf("want 1 to %d Unicode characters, got %d", maxIDRunes, count)
	}
	if strings.TrimSpace(id) != id {
		return "want no white space at either end"
	}
	if at := strings.IndexFunc(id, unicode.IsControl); at >= 0 {
		r, _ := utf8.DecodeRuneInString(id[at:])
		return fmt.Sprintf("want no control characters, got U+%04X", r)
	}
	return ""
}

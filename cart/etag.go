package cart

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"

	"cartwheel/inventory"
)

// AnyETag is the If-Match that every cart matches.
const AnyETag = "*"

// etagBytes is the length of the hash in an ETag. Two carts of one client do not collide by chance.
const etagBytes = 16

// ETag returns the opaque tag of a cart with these lines, which are sorted by product. It depends
// on the products and quantities alone.
func ETag(lines []inventory.Line) string {
	var text []byte
	for _, line := range lines {
		text = binary.AppendUvarint(text, uint64(len(line.ProductID)))
		text = append(text, line.ProductID...)
		text = binary.AppendVarint(text, line.Quantity)
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:etagBytes])
}

// Matches reports whether a cart with these lines has one of the ETags of a [Purchase.IfMatch].
func Matches(ifMatch string, lines []inventory.Line) bool {
	return ifMatch == "" || ifMatch == AnyETag || slices.Contains(strings.Split(ifMatch, ","), ETag(lines))
}

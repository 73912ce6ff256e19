package cart

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"

	"cartwheel/database"
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

// A View is a client's cart as a customer sees it.
type View struct {
	Lines []ViewLine
	// CheckoutUnderWay says that a checkout of this client was open while the lines were read: the
	// lines that it removed may be missing.
	CheckoutUnderWay bool
	ETag             string // see ETag
}

// A ViewLine is a line with its product. A product that is gone has no name, and 0 available.
type ViewLine struct {
	ProductID, ProductName string
	Quantity, Available    int64 // units
}

// Show returns a client's cart, in the order of the product IDs. It locks nothing and reads the
// primary. It blocks for one read.
//
// Each statement has a snapshot of its own: the few connections for snapshots of several statements
// are the audits'. So checkouts are looked for before and after the lines.
//
// Errors: those of database.DB.Read.
func (m *Manager) Show(ctx context.Context, clientID string) (v View, err error) {
	err = m.db.Read(ctx, func(tx *database.Tx) error {
		before, err := m.checkouts.UnderWay(ctx, tx, clientID)
		if err != nil {
			return err
		}
		lines, err := m.store.Get(ctx, tx, clientID)
		if err != nil {
			return err
		}
		ids := make([]string, len(lines))
		for i, line := range lines {
			ids[i] = line.ProductID
		}
		products, err := m.stock.Products(ctx, tx, ids)
		if err != nil {
			return err
		}
		v = View{Lines: viewLines(lines, products), ETag: ETag(lines)}
		after, err := m.checkouts.UnderWay(ctx, tx, clientID)
		v.CheckoutUnderWay = before || after
		return err
	})
	return v, err
}

func viewLines(lines []inventory.Line, products []inventory.Product) []ViewLine {
	known := make(map[string]inventory.Product, len(products))
	for _, p := range products {
		known[p.ID] = p
	}
	views := make([]ViewLine, len(lines))
	for i, line := range lines {
		product := known[line.ProductID]
		views[i] = ViewLine{line.ProductID, product.Name, line.Quantity, product.Available()}
	}
	return views
}

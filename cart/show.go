package cart

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
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
		var lines []inventory.Line
		underWay, products := map[string]bool{}, map[string]inventory.Product{}
		batch := tx.Batch()
		m.checkouts.UnderWay(batch, []string{clientID}, underWay)
		queryCart(batch, clientID, &lines)
		if err := batch.Send(ctx); err != nil {
			return fmt.Errorf("read the cart: %w", err)
		}
		ids := make([]string, len(lines))
		for i, line := range lines {
			ids[i] = line.ProductID
		}
		m.stock.Products(batch, ids, products)
		m.checkouts.UnderWay(batch, []string{clientID}, underWay)
		if err := batch.Send(ctx); err != nil {
			return fmt.Errorf("read the cart's products: %w", err)
		}
		v = View{viewLines(lines, products), underWay[clientID], ETag(lines)}
		return nil
	})
	return v, err
}

func viewLines(lines []inventory.Line, products map[string]inventory.Product) []ViewLine {
	views := make([]ViewLine, len(lines))
	for i, line := range lines {
		product := products[line.ProductID]
		views[i] = ViewLine{line.ProductID, product.Name, line.Quantity, product.Available()}
	}
	return views
}

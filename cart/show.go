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
	"cartwheel/queue"
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

// maxCartsShown is the maximum number of carts that one read shows, and showWorkers the number of
// reads at once.
const (
	maxCartsShown = 64
	showWorkers   = 2
)

// Show returns a client's cart, in the order of the product IDs. It locks nothing and reads the
// primary. It blocks for one read, which may show the carts of several callers. They may share the
// View, which is only for reading.
//
// Errors: those of database.DB.Read; those of queue.Queue.DoToEnd, by which nothing was done.
func (m *Manager) Show(ctx context.Context, clientID string) (View, error) {
	return m.shows.DoToEnd(ctx, clientID, clientID)
}

// show reads the carts of a batch of callers.
func (m *Manager) show(ctx context.Context, clientIDs []string, answers []queue.Answer[View]) error {
	views, err := Views(ctx, m.db, m.stock, m.checkouts.UnderWay, clientIDs)
	for i, id := range clientIDs {
		answers[i].Value = views[id]
	}
	return err
}

// Views returns the clients' carts in db, by client. It locks nothing and blocks for one read.
// findUnderWay is the Checkout Manager's UnderWay.
//
// Each statement has a snapshot of its own: the few connections for snapshots of several statements
// are the audits'. So checkouts are looked for before and after the lines.
//
// Errors: those of database.DB.Read.
func Views(
	ctx context.Context, db *database.DB, stock stock,
	findUnderWay func(b *database.Batch, clientIDs []string, found map[string]bool), clientIDs []string,
) (map[string]View, error) {
	clients, views := database.SortedUnique(clientIDs), map[string]View{}
	err := db.Read(ctx, func(tx *database.Tx) error {
		carts, products := map[string][]inventory.Line{}, map[string]inventory.Product{}
		underWay := map[string]bool{}
		batch := tx.Batch()
		findUnderWay(batch, clients, underWay)
		queryCarts(batch, clients, "", carts)
		if err := batch.Send(ctx); err != nil {
			return fmt.Errorf("read the carts: %w", err)
		}
		var ids []string
		for _, lines := range carts {
			for _, line := range lines {
				ids = append(ids, line.ProductID)
			}
		}
		stock.Products(batch, ids, products)
		findUnderWay(batch, clients, underWay)
		if err := batch.Send(ctx); err != nil {
			return fmt.Errorf("read the carts' products: %w", err)
		}
		for _, id := range clients {
			views[id] = View{viewLines(carts[id], products), underWay[id], ETag(carts[id])}
		}
		return nil
	})
	return views, err
}

func viewLines(lines []inventory.Line, products map[string]inventory.Product) []ViewLine {
	views := make([]ViewLine, len(lines))
	for i, line := range lines {
		product := products[line.ProductID]
		views[i] = ViewLine{line.ProductID, product.Name, line.Quantity, product.Available()}
	}
	return views
}

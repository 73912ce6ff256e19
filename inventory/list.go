package inventory

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"cartwheel/database"
)

// listPage is how many products one statement of a list reads: it is done long before its time is
// up, however large the catalogue and however slow the reader.
const listPage = 1000

// A Product is one of the catalogue, with its stock.
type Product struct {
	ID, Name string
	Level
}

// List calls each for every product, in the order of their IDs, until it returns an error. The
// values of one product belong to one snapshot; those of two products may not. It locks nothing and
// blocks until each has had the last.
//
// Errors: those of each, and database.ErrUnavailable.
func (m *Manager) List(ctx context.Context, each func(Product) error) error {
	for after := ""; ; {
		page, err := database.Query(ctx, m.db.ReadStale, func(tx *database.Tx) ([]Product, error) {
			return pageOf(ctx, tx, after, listPage)
		})
		if err != nil {
			return err
		}
		for _, p := range page {
			if err := each(p); err != nil {
				return err
			}
		}
		if len(page) < listPage {
			return nil
		}
		after = page[len(page)-1].ID
	}
}

// Lowest returns up to limit products, those of which the least is available first, all as of one
// moment. It locks nothing. It reads the whole catalogue, so it is not for a busy path.
//
// Errors: database.ErrUnavailable.
func (m *Manager) Lowest(ctx context.Context, limit int) ([]Product, error) {
	return database.Query(ctx, m.db.ReadStale, func(tx *database.Tx) ([]Product, error) { return lowest(ctx, tx, limit) })
}

// Products finds those of the products that exist, as they are committed when the batch is sent. It
// locks nothing.
func (m *Manager) Products(b *database.Batch, productIDs []string, found map[string]Product) {
	queryProducts(b, database.SortedUnique(productIDs), found)
}

// Lookup returns those of the products that there are, in the order of their IDs. It blocks for one
// read.
//
// Errors: database.ErrUnavailable.
func (m *Manager) Lookup(ctx context.Context, productIDs []string) ([]Product, error) {
	found := map[string]Product{}
	err := m.db.ReadStale(ctx, func(tx *database.Tx) error {
		clear(found) // it may be the second read
		b := tx.Batch()
		m.Products(b, productIDs, found)
		return b.Send(ctx)
	})
	return slices.SortedFunc(maps.Values(found), func(p, q Product) int { return cmp.Compare(p.ID, q.ID) }), err
}

// Empty reports whether the catalogue has no product.
func (m *Manager) Empty(ctx context.Context) (bool, error) {
	first, err := database.Query(ctx, m.db.Read, func(tx *database.Tx) ([]Product, error) { return pageOf(ctx, tx, "", 1) })
	return len(first) == 0, err
}

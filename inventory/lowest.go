package inventory

import (
	"context"
	"strings"

	"cartwheel/database"
)

// Lowest returns up to limit products, those of which the least is available first, all as of one
// moment. search picks those with this in their ID or name, in upper or lower case (the embedded
// engine knows the two cases of ASCII letters alone); empty picks all. It locks nothing. It reads
// the whole catalogue, so it is not for a busy path.
//
// Errors: database.ErrUnavailable.
func (m *Manager) Lowest(ctx context.Context, search string, limit int) (products []Product, err error) {
	err = m.db.Read(ctx, func(tx *database.Tx) (err error) {
		products, err = lowest(ctx, tx, strings.ToLower(search), limit)
		return err
	})
	return products, err
}

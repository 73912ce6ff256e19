package inventory

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"cartwheel/database"
)

// A Hold is a row of reserve_purchase, as an auditor sees it.
type Hold struct {
	ReserveID string
	Line
}

// Owner returns the checkout and the line, counted from 1, that the hold's ID names; ok is false for an ID that
// Cartwheel did not make.
func (h Hold) Owner() (checkoutID string, line int, ok bool) {
	at := strings.LastIndexByte(h.ReserveID, ':')
	if at < 0 {
		return "", 0, false
	}
	line, err := strconv.Atoi(h.ReserveID[at+1:])
	return h.ReserveID[:at], line, err == nil
}

// EachHold calls use for every hold. It locks nothing.
func EachHold(ctx context.Context, tx *database.Tx, use func(Hold) error) error {
	return eachHold(ctx, tx, use)
}

// EachLevel calls use for every product that is in the catalogue or held. It locks nothing.
func EachLevel(ctx context.Context, tx *database.Tx, use func(productID string, level Level) error) error {
	return eachLevel(ctx, tx, use)
}

// DropHolds deletes holds by their reserve IDs.
func DropHolds(ctx context.Context, tx *database.Tx, reserveIDs []string) error {
	holds := make([]hold, len(reserveIDs))
	for i, id := range reserveIDs {
		holds[i].reserveID = id
	}
	b := tx.Batch()
	deleteHolds(b, holds)
	if err := b.Send(ctx); err != nil {
		return fmt.Errorf("delete holds: %w", err)
	}
	return nil
}

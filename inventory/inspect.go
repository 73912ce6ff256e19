package inventory

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"cartwheel/database"
)

// A ReservationRow is a row of reserve_purchase, as an auditor sees it.
type ReservationRow struct {
	ReserveID string
	Line
}

// Owner returns the checkout and the line, counted from 1, that the reservation's ID names; ok is
// false for an ID that Cartwheel did not make.
func (h ReservationRow) Owner() (checkoutID string, line int, ok bool) {
	at := strings.LastIndexByte(h.ReserveID, ':')
	if at < 0 {
		return "", 0, false
	}
	line, err := strconv.Atoi(h.ReserveID[at+1:])
	return h.ReserveID[:at], line, err == nil
}

// DeleteReservations deletes rows by their reserve IDs.
func DeleteReservations(ctx context.Context, tx *database.Tx, reserveIDs []string) error {
	b := tx.Batch()
	deleteReservations(b, database.SortedUnique(reserveIDs))
	if err := b.Send(ctx); err != nil {
		return fmt.Errorf("delete reservations: %w", err)
	}
	return nil
}

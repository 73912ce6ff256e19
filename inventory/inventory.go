// Package inventory is the Inventory Manager: it checks, reserves, sells, releases, restocks and
// imports stock. It owns the tables product_details, reserve_purchase and product_guard; the cart
// and checkout managers call it inside their transactions.
package inventory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cartwheel/database"
)

// MaxOnHand is the most units of one product that the table's column stores.
const MaxOnHand = 1<<31 - 1

// A Line is a quantity of one product.
type Line struct {
	ProductID string `json:"productID"`
	Quantity  int64  `json:"quantity"`
}

// Units returns the sum of the lines' quantities.
func Units(lines []Line) (sum int64) {
	for _, line := range lines {
		sum += line.Quantity
	}
	return sum
}

// A Level is the stock of one product at one moment, in units.
type Level struct {
	OnHand   int64
	Reserved int64 // by open checkouts
}

// Available is what can still be reserved.
func (l Level) Available() int64 { return max(0, l.OnHand-l.Reserved) }

// A Reservation is the rows of one checkout: its lines, under reserve IDs that begin with the
// checkout's.
type Reservation struct {
	CheckoutID string
	Lines      []Line
}

// A ReservationRow is a row of reserve_purchase, as an auditor sees it.
type ReservationRow struct {
	ReserveID string
	Line
}

// Manager keeps the stock. Its methods are safe for concurrent use.
type Manager struct {
	db     *database.DB
	locked database.LockedRows // products whose rows another session keeps locked
	// clustered says that other nodes of a cluster may write: locks alone are not certified there.
	clustered bool
}

// New returns the manager of the stock in db.
func New(db *database.DB) *Manager { return &Manager{db: db, clustered: db.Clustered()} }

// ReadLevels returns the stock of the products as it is committed when the batch is sent; it is
// empty until then. It locks nothing.
func (m *Manager) ReadLevels(b *database.Batch, productIDs []string) *Stock {
	ids := database.SortedUnique(productIDs)
	stock := newStock(len(ids))
	queryLevels(b, ids, stock)
	return stock
}

// Lock locks the products' rows to the end of the transaction, in the order of their IDs, and
// returns their stock: what others reserve, sell or import comes after. It waits for locked rows,
// but not again for the suspects, whose lock wait timed out lately: the stock knows as locked those
// that still are.
func (m *Manager) Lock(ctx context.Context, tx *database.Tx, productIDs []string) (*Stock, error) {
	ids := database.SortedUnique(productIDs)
	stock := newStock(len(ids))
	waitable, suspects := m.locked.Split(ids)
	tries := 1
	if tx.AfterLockTimeout() {
		waitable, suspects, tries = nil, ids, lockTries
	}
	b := tx.Batch()
	queryOnHand(b, waitable, tx.ForUpdate(), stock)
	// After the others: what is locked without waiting cannot deadlock.
	if len(suspects) > 0 {
		if err := m.tryLock(ctx, tx, b, suspects, tries, stock); err != nil {
			return nil, fmt.Errorf("lock products: %w", err)
		}
	}
	if m.clustered {
		// Before the sum is read: a reservation of another node that is applied later conflicts
		// with the write of this row, and ends this transaction.
		incrementGuards(b, slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return stock.locked[id] }))
	}
	// A statement of its own, after the locks: merged into the locking SELECT it would read an
	// older snapshot.
	queryReserved(b, ids, stock)
	if err := b.Send(ctx); err != nil {
		return nil, fmt.Errorf("lock products: %w", err)
	}
	return stock, nil
}

// After a lock wait that timed out nobody knows which product it was. A popular one is locked by
// other transactions of ours most of the time, each for some milliseconds: it must not be mistaken
// for one that another session keeps locked.
const (
	// lockTries is the number of attempts to lock a row without waiting.
	lockTries = 5
	// tryPause is the pause between two attempts.
	tryPause = 20 * time.Millisecond
)

// tryLock sends the batch and locks the unlocked rows, in that many tries. It finds out which
// of the others are locked and which are gone.
func (m *Manager) tryLock(
	ctx context.Context, tx *database.Tx, b *database.Batch, ids []string, tries int, stock *Stock,
) error {
	there := newStock(len(ids))
	queryOnHand(b, ids, "", there)
	locked := ids
	for {
		queryOnHand(b, locked, tx.ForUpdateSkipLocked(), stock)
		if err := b.Send(ctx); err != nil {
			return err
		}
		locked = slices.DeleteFunc(slices.Clone(locked), func(id string) bool {
			return stock.levels[id] != nil || there.levels[id] == nil
		})
		if tries--; tries <= 0 || len(locked) == 0 {
			break
		}
		sleep(ctx, tryPause)
	}
	for _, id := range ids {
		_, isLocked := slices.BinarySearch(locked, id)
		m.locked.Found(id, isLocked)
		if isLocked {
			stock.locked[id] = true
		}
	}
	return nil
}

// Reserve writes the reservations' lines. The caller has the products locked and found enough of
// each.
func (m *Manager) Reserve(b *database.Batch, reservations []Reservation) {
	insertReservations(b, reservationRows(reservations))
}

// Sell subtracts what was reserved from the quantity on hand, then drops the rows. It waits for
// rows that are locked, but not for suspects.
//
// Errors: database.ErrRowLocked for a suspect: Lock asks for it without waiting. Sending the batch
// fails with ErrShort when less is on hand than what is bought of a product, because a manual SQL
// edit lowered it. The transaction must then be rolled back.
func (m *Manager) Sell(b *database.Batch, reservations []Reservation) error {
	var bought []Line
	for _, r := range reservations {
		bought = append(bought, r.Lines...)
	}
	lines := sumByProduct(bought)
	for _, line := range lines {
		if _, suspects := m.locked.Split([]string{line.ProductID}); len(suspects) > 0 {
			return lockedError(line.ProductID)
		}
	}
	lowerOnHand(b, lines)
	m.Release(b, reservations)
	return nil
}

// Restock adds sold lines to the quantity on hand, in the tables and in stock. It recreates a
// product whose row is gone, without a name. This transaction has locked all of the products. It
// returns the units beyond MaxOnHand, which are lost.
func (m *Manager) Restock(ctx context.Context, tx *database.Tx, stock *Stock, lines []Line) (overflow []Line, err error) {
	var changes []change
	for _, line := range sumByProduct(lines) {
		level := stock.levels[line.ProductID]
		if level == nil {
			level = &Level{}
			stock.levels[line.ProductID] = level
		}
		after := max(level.OnHand, min(level.OnHand+line.Quantity, MaxOnHand))
		if units := level.OnHand + line.Quantity - after; units > 0 {
			overflow = append(overflow, Line{line.ProductID, units})
		}
		changes = append(changes, change{productID: line.ProductID, before: level.OnHand, after: after})
		level.OnHand = after
	}
	return overflow, changeProducts(ctx, tx, changes, true)
}

// Release drops the rows of the reservations. Unless Sell subtracts their units, these are
// available again when the transaction commits. Dropping what is no longer reserved is harmless.
func (m *Manager) Release(b *database.Batch, reservations []Reservation) {
	var ids []string
	for _, r := range reservations {
		for i := range r.Lines {
			ids = append(ids, ReserveID(r.CheckoutID, i+1))
		}
	}
	slices.Sort(ids)
	DeleteReservations(b, ids)
}

// ReserveID names the row of a Reservation for a checkout's line, counted from 1.
func ReserveID(checkoutID string, line int) string { return fmt.Sprintf("%s:%d", checkoutID, line) }

// Checkout returns the checkout and the line, counted from 1, that the reservation's ID names; ok
// is false for an ID that Cartwheel did not make.
func (r ReservationRow) Checkout() (checkoutID string, line int, ok bool) {
	at := strings.LastIndexByte(r.ReserveID, ':')
	if at < 0 {
		return "", 0, false
	}
	line, err := strconv.Atoi(r.ReserveID[at+1:])
	return r.ReserveID[:at], line, err == nil
}

// sumByProduct returns one line for each product, in the order of their IDs.
func sumByProduct(lines []Line) []Line {
	quantities := map[string]int64{}
	for _, line := range lines {
		quantities[line.ProductID] += line.Quantity
	}
	sums := make([]Line, 0, len(quantities))
	for _, id := range slices.Sorted(maps.Keys(quantities)) {
		sums = append(sums, Line{id, quantities[id]})
	}
	return sums
}

package inventory

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"cartwheel/database"
)

// queryOnHand reads the products' rows into stock, with the locking clause given. The IDs are
// sorted.
func queryOnHand(b *database.Batch, ids []string, locking string, stock *Stock) {
	b.QueryIn(ids, func(rows *sql.Rows) error {
		var id string
		var level Level
		err := rows.Scan(&id, &level.OnHand)
		stock.levels[id] = &level
		return err
	}, "SELECT product_id, COALESCE(quantity, 0) FROM "+b.Dialect().ByKey("product_details")+
		" WHERE product_id IN (?) ORDER BY product_id"+locking)
}

// queryNames reads the products' names. It locks nothing.
func queryNames(b *database.Batch, ids []string, names map[string]string) {
	b.QueryIn(ids, func(rows *sql.Rows) error {
		var id, name string
		err := rows.Scan(&id, &name)
		names[id] = name
		return err
	}, "SELECT product_id, COALESCE(product_name, '') FROM "+b.Dialect().ByKey("product_details")+" WHERE product_id IN (?)")
}

// queryLevels reads the products' stock into stock. One statement sees one snapshot.
func queryLevels(b *database.Batch, ids []string, stock *Stock) {
	b.QueryIn(ids, func(rows *sql.Rows) error {
		var id string
		var level Level
		err := rows.Scan(&id, &level.OnHand, &level.Reserved)
		stock.levels[id] = &level
		return err
	}, "SELECT p.product_id, COALESCE(p.quantity, 0),"+
		" (SELECT COALESCE(SUM(r.quantity), 0) FROM reserve_purchase r WHERE r.product_id = p.product_id)"+
		" FROM product_details p WHERE p.product_id IN (?)")
}

// queryReserved adds up what is reserved of the products that stock knows. It locks nothing.
func queryReserved(b *database.Batch, ids []string, stock *Stock) {
	b.QueryIn(ids, func(rows *sql.Rows) error {
		var id string
		var reserved int64
		err := rows.Scan(&id, &reserved)
		if level := stock.levels[id]; level != nil {
			level.Reserved = reserved
		}
		return err
	}, "SELECT product_id, COALESCE(SUM(quantity), 0) FROM reserve_purchase WHERE product_id IN (?) GROUP BY product_id")
}

// reservationRows returns the reservations' rows in the order of their reserve IDs.
func reservationRows(reservations []Reservation) []ReservationRow {
	var rows []ReservationRow
	for _, r := range reservations {
		for i, line := range r.Lines {
			rows = append(rows, ReservationRow{ReserveID(r.CheckoutID, i+1), line})
		}
	}
	slices.SortFunc(rows, func(a, b ReservationRow) int { return strings.Compare(a.ReserveID, b.ReserveID) })
	return rows
}

// incrementGuards writes a row for each product. A cluster checks only written rows for conflicts:
// so it finds those of transactions that lock the same products on two nodes. The IDs are sorted.
func incrementGuards(b *database.Batch, ids []string) {
	for chunk := range slices.Chunk(ids, database.ChunkRows) {
		b.Exec(nil, "INSERT INTO product_guard (product_id, version) VALUES (?, 1)"+strings.Repeat(", (?, 1)", len(chunk)-1)+
			b.Dialect().OnConflict("product_id")+"version = product_guard.version + 1", database.Anys(chunk)...)
	}
}

func insertReservations(b *database.Batch, rows []ReservationRow) {
	d := b.Dialect()
	for piece := range database.Pieces(d, rows) {
		args := make([]any, 0, 3*len(piece))
		for _, row := range piece {
			args = append(args, row.ReserveID, row.ProductID, row.Quantity)
		}
		b.Exec(nil, d.InsertList("reserve_purchase", len(piece), "quantity", "reserve_id", "product_id"), d.List(3, args)...)
	}
}

// DeleteReservations deletes the rows with these reserve IDs, which are sorted, when the batch is
// sent.
func DeleteReservations(b *database.Batch, reserveIDs []string) {
	d := b.Dialect()
	for chunk := range slices.Chunk(reserveIDs, database.ChunkRows) {
		padded := database.Pad(chunk)
		b.Exec(nil, d.DeleteKeys("reserve_purchase", len(padded), "reserve_id"), d.List(1, database.Anys(padded))...)
	}
}

// lowerOnHand subtracts the lines, which are sorted and name each product once. A quantity that was
// read earlier is never written back. Sending the batch fails with ErrShort where there is too
// little on hand.
func lowerOnHand(b *database.Batch, lines []Line) {
	d := b.Dialect()
	for piece := range database.Pieces(d, lines) {
		args := make([]any, 0, 2*len(piece))
		for _, line := range piece {
			args = append(args, line.ProductID, line.Quantity)
		}
		enough := func(found int64) error {
			if found != int64(len(piece)) {
				return ErrShort
			}
			return nil
		}
		b.Exec(enough, d.Subtract("product_details", "product_id", "quantity", len(piece)), d.List(2, args)...)
	}
}

// changeProducts names products and sets the quantity on hand. With add it raises it by the
// difference; lowerOnHand lowers it. This transaction has locked the products that exist.
func changeProducts(ctx context.Context, tx *database.Tx, products []change, add bool) error {
	d := tx.Dialect()
	quantity := d.Incoming("quantity")
	if add {
		quantity = "COALESCE(product_details.quantity, 0) + " + quantity
	}
	return insertProducts(ctx, tx, products, add, d.OnConflict("product_id")+
		"product_name = COALESCE("+d.Incoming("product_name")+", product_details.product_name), quantity = "+quantity)
}

// insertProducts creates products, which are sorted, with their quantity on hand, or with add by
// how much it is raised. Where one exists it fails as a duplicate, or does what onConflict says.
func insertProducts(ctx context.Context, tx *database.Tx, products []change, add bool, onConflict string) error {
	for chunk := range slices.Chunk(products, database.ChunkRows) {
		args := make([]any, 0, 3*len(chunk))
		for _, p := range chunk {
			incoming := p.after
			if add {
				incoming = max(0, p.after-p.before)
			}
			args = append(args, p.productID, sql.NullString{String: p.name, Valid: p.name != "" || p.create}, incoming)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO product_details (product_id, product_name, quantity) VALUES "+
			database.Values(len(chunk), 3)+onConflict, args...); err != nil {
			return fmt.Errorf("write products: %w", err)
		}
	}
	return nil
}

// productColumns select a Product of p, a row of product_details.
const productColumns = "SELECT p.product_id, COALESCE(p.product_name, ''), COALESCE(p.quantity, 0)," +
	" (SELECT COALESCE(SUM(r.quantity), 0) FROM reserve_purchase r WHERE r.product_id = p.product_id)"

// pageOf returns the products whose IDs follow one, in their order, as they are committed now.
func pageOf(ctx context.Context, tx *database.Tx, after string, limit int) ([]Product, error) {
	return selectProducts(ctx, tx, productColumns+" FROM product_details p WHERE p.product_id > ? ORDER BY p.product_id LIMIT ?", after, limit)
}

// queryProducts finds the products with these IDs, which are sorted.
func queryProducts(b *database.Batch, ids []string, found map[string]Product) {
	b.QueryIn(ids, func(rows *sql.Rows) error {
		p, err := scanProduct(rows)
		found[p.ID] = p
		return err
	}, productColumns+" FROM product_details p WHERE p.product_id IN (?)")
}

func scanProduct(rows *sql.Rows) (p Product, err error) {
	err = rows.Scan(&p.ID, &p.Name, &p.OnHand, &p.Reserved)
	return p, err
}

// lowest returns the products of which the least is available.
func lowest(ctx context.Context, tx *database.Tx, limit int) ([]Product, error) {
	return selectProducts(ctx, tx, "SELECT p.product_id, COALESCE(p.product_name, ''), COALESCE(p.quantity, 0), COALESCE(h.reserved, 0)"+
		" FROM product_details p LEFT JOIN"+
		" (SELECT product_id, SUM(quantity) AS reserved FROM reserve_purchase GROUP BY product_id) h"+
		" ON h.product_id = p.product_id"+
		" ORDER BY COALESCE(p.quantity, 0) - COALESCE(h.reserved, 0), p.product_id LIMIT ?", limit)
}

// selectProducts runs a query for product_id, product_name, quantity and what is reserved.
func selectProducts(ctx context.Context, tx *database.Tx, query string, args ...any) ([]Product, error) {
	products := []Product{}
	err := tx.Each(ctx, func(rows *sql.Rows) error {
		p, err := scanProduct(rows)
		products = append(products, p)
		return err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list products: %w", err)
	}
	return products, nil
}

// EachReservation calls use for every reservation. It locks nothing.
func EachReservation(ctx context.Context, tx *database.Tx, use func(ReservationRow) error) error {
	return tx.Each(ctx, func(rows *sql.Rows) error {
		var row ReservationRow
		if err := rows.Scan(&row.ReserveID, &row.ProductID, &row.Quantity); err != nil {
			return err
		}
		return use(row)
	}, "SELECT reserve_id, COALESCE(product_id, ''), COALESCE(quantity, 0) FROM reserve_purchase ORDER BY reserve_id")
}

// EachLevel calls use for every product that is in the catalogue or reserved. It locks nothing.
func EachLevel(ctx context.Context, tx *database.Tx, use func(string, Level) error) error {
	return tx.Each(ctx, func(rows *sql.Rows) error {
		var id string
		var level Level
		if err := rows.Scan(&id, &level.OnHand, &level.Reserved); err != nil {
			return err
		}
		return use(id, level)
	}, "SELECT product_id, SUM(on_hand), SUM(reserved) FROM ("+
		"SELECT product_id, COALESCE(quantity, 0) AS on_hand, 0 AS reserved FROM product_details UNION ALL "+
		"SELECT product_id, 0, COALESCE(quantity, 0) FROM reserve_purchase WHERE product_id IS NOT NULL"+
		") books GROUP BY product_id ORDER BY product_id")
}

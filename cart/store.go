package cart

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"cartwheel/database"
	"cartwheel/inventory"
)

// queryCarts reads the clients' lines into carts when the batch is sent, in the order of the
// primary key. Lines of 0 units are left out. The statement ends with the clause given: a limit, a
// lock, or nothing; then it reads what is committed.
func queryCarts(b *database.Batch, clientIDs []string, clause string, carts map[string][]inventory.Line) {
	b.QueryIn(clientIDs, func(rows *sql.Rows) error {
		var line ClientLine
		err := rows.Scan(&line.ClientID, &line.ProductID, &line.Quantity)
		carts[line.ClientID] = append(carts[line.ClientID], line.Line)
		return err
	}, "SELECT client_id, product_id, quantity FROM "+b.Dialect().ByKey("client_cart")+
		" WHERE client_id IN (?) AND quantity > 0 ORDER BY client_id, product_id"+clause)
}

// A storedLine is what is stored of a line, and how many lines its cart has.
type storedLine struct {
	quantity  int64
	cartLines int // RETURNING counts the statement's rows so far: a cart's last has the final number
}

// addLines adds to lines, which are sorted, and returns them as they are stored once the batch is
// sent. It locks them. The count is countOf or noCount.
func addLines(b *database.Batch, lines []ClientLine, count func(alias string) string) map[lineKey]storedLine {
	d := b.Dialect()
	if !d.Returning() {
		upsertLines(b, lines)
		return selectLines(b, lines, count)
	}
	found := make(map[lineKey]storedLine, len(lines))
	for chunk := range slices.Chunk(lines, database.ChunkRows) {
		rows := len(database.Pad(chunk))
		query := upsert(d, rows) + " RETURNING client_id, product_id, quantity, " + count("client_cart")
		b.Query(scanStored(found), query, upsertArgs(d, chunk, rows)...)
	}
	return found
}

// selectLines returns those of the lines that are stored when the batch is sent.
func selectLines(b *database.Batch, lines []ClientLine, count func(alias string) string) map[lineKey]storedLine {
	found := make(map[lineKey]storedLine, len(lines))
	for chunk := range slices.Chunk(lines, database.ChunkRows) {
		padded := database.Pad(chunk)
		query := "SELECT t.client_id, t.product_id, t.quantity, " + count("t") + " FROM " +
			b.Dialect().JoinKeys("client_cart", len(padded), "client_id", "product_id")
		b.Query(scanStored(found), query, b.Dialect().List(2, lineArgs(padded))...)
	}
	return found
}

// lockLines locks those of the lines, which are sorted, that are stored when the batch is sent, and
// returns them. MySQL locks no rows that are joined to a JSON_TABLE, so the keys stand in the text.
func lockLines(b *database.Batch, lines []ClientLine) map[lineKey]storedLine {
	found := make(map[lineKey]storedLine, len(lines))
	for chunk := range slices.Chunk(lines, database.ChunkRows) {
		padded := database.Pad(chunk)
		b.Query(scanStored(found), "SELECT client_id, product_id, COALESCE(quantity, 0), 0 FROM "+b.Dialect().ByKey("client_cart")+
			" WHERE "+database.AnyOf(len(padded), "client_id = ? AND product_id = ?")+
			" ORDER BY client_id, product_id"+b.Dialect().RowLocks(" FOR UPDATE"), lineArgs(padded)...)
	}
	return found
}

// countOf counts the lines of the cart of each row of client_cart, by the statement's alias for it.
func countOf(alias string) string {
	return "(SELECT COUNT(*) FROM client_cart n WHERE n.client_id = " + alias + ".client_id AND n.quantity > 0)"
}

// noCount counts nothing, where the number of lines does not matter.
func noCount(string) string { return "0" }

// scanStored reads lines with the number of lines in their carts into found. Where a line comes
// again, the cart has grown since: the last one counts.
func scanStored(found map[lineKey]storedLine) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var key lineKey
		var stored storedLine
		err := rows.Scan(&key.clientID, &key.productID, &stored.quantity, &stored.cartLines)
		found[key] = stored
		return err
	}
}

// countLines returns how many lines each client has.
func countLines(ctx context.Context, tx *database.Tx, clientIDs []string, locking string) (map[string]int, error) {
	counts := make(map[string]int, len(clientIDs))
	for chunk := range slices.Chunk(clientIDs, database.ChunkRows) {
		err := tx.Each(ctx, func(rows *sql.Rows) error {
			var id string
			var count int
			err := rows.Scan(&id, &count)
			counts[id] = count
			return err
		}, "SELECT client_id, COUNT(*) FROM "+tx.Dialect().ByKey("client_cart")+
			" WHERE client_id IN "+database.In(len(chunk))+" AND quantity > 0 GROUP BY client_id"+locking, database.Anys(chunk)...)
		if err != nil {
			return nil, fmt.Errorf("count cart lines: %w", err)
		}
	}
	return counts, nil
}

// upsertLines adds to lines, which are sorted: an unsorted upsert of many rows deadlocks. It caps
// lines at MaxQuantity.
func upsertLines(b *database.Batch, lines []ClientLine) {
	for chunk := range slices.Chunk(lines, database.ChunkRows) {
		rows := len(database.Pad(chunk))
		b.Exec(nil, upsert(b.Dialect(), rows), upsertArgs(b.Dialect(), chunk, rows)...)
	}
}

func upsert(d database.Dialect, rows int) string {
	added := d.Incoming("quantity")
	return d.InsertList("client_cart", rows, "quantity", "client_id", "product_id") + d.OnConflict("client_id, product_id") +
		"quantity = CASE WHEN COALESCE(client_cart.quantity, 0) > 2147483647 - " + added + " THEN 2147483647" +
		" ELSE COALESCE(client_cart.quantity, 0) + " + added + " END"
}

// upsertArgs are the lines as the arguments of this number of rows. It fills up with the last line,
// adding 0 units.
func upsertArgs(d database.Dialect, lines []ClientLine, rows int) []any {
	args := make([]any, 0, 3*rows)
	for _, line := range lines {
		args = append(args, line.ClientID, line.ProductID, line.Quantity)
	}
	for len(args) < 3*rows {
		last := lines[len(lines)-1]
		args = append(args, last.ClientID, last.ProductID, 0)
	}
	return d.List(3, args)
}

// setLines sets lines, which are sorted and which this transaction has locked.
func setLines(b *database.Batch, lines []ClientLine) {
	for _, line := range lines {
		b.Exec(nil, "UPDATE "+b.Dialect().ByKey("client_cart")+" SET quantity = ? WHERE client_id = ? AND product_id = ?",
			line.Quantity, line.ClientID, line.ProductID)
	}
}

// deleteLines deletes lines, which are sorted.
func deleteLines(b *database.Batch, lines []ClientLine) {
	for chunk := range slices.Chunk(lines, database.ChunkRows) {
		padded := database.Pad(chunk)
		b.Exec(nil, b.Dialect().DeleteKeys("client_cart", len(padded), "client_id", "product_id"),
			b.Dialect().List(2, lineArgs(padded))...)
	}
}

// lineArgs are the keys of the lines as arguments.
func lineArgs(lines []ClientLine) []any {
	args := make([]any, 0, 2*len(lines))
	for _, line := range lines {
		args = append(args, line.ClientID, line.ProductID)
	}
	return args
}

// probe deletes a line that cannot exist: it fails where an add would, on a server that is
// read-only or whose binary log refuses our isolation level.
func probe(ctx context.Context, tx *database.Tx) error {
	if _, err := tx.Exec(ctx, "DELETE FROM client_cart WHERE client_id = '' AND product_id = ''"); err != nil {
		return fmt.Errorf("probe the carts: %w", err)
	}
	return nil
}

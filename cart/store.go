package cart

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"

	"cartwheel/database"
)

// noLimit asks for all lines.
const noLimit = 0

const isLine = "client_id = ? AND product_id = ?"

// selectCarts returns the clients' lines, in the order of the primary key, with the locking clause given.
// Lines of nothing are no lines.
func selectCarts(ctx context.Context, tx *database.Tx, clientIDs []string, locking string, limit int) ([]ClientLine, error) {
	if len(clientIDs) == 0 {
		return nil, nil
	}
	args := make([]any, 0, len(clientIDs))
	for _, id := range clientIDs {
		args = append(args, id)
	}
	upTo := ""
	if limit != noLimit {
		upTo = " LIMIT " + strconv.Itoa(limit)
	}
	return readLines(ctx, tx, "SELECT client_id, product_id, quantity FROM "+tx.Dialect().ByKey("client_cart")+
		" WHERE client_id IN "+database.In(len(args))+" AND quantity > 0 ORDER BY client_id, product_id"+upTo+locking, args)
}

// A storedLine is what is stored of a line, and how many lines its cart has.
type storedLine struct {
	quantity int64
	lines    int
}

// selectLines returns those of the lines that are stored, all as of one moment.
func selectLines(ctx context.Context, tx *database.Tx, lines []ClientLine) (map[lineKey]storedLine, error) {
	found := make(map[lineKey]storedLine, len(lines))
	for chunk := range slices.Chunk(lines, database.ChunkRows) {
		err := tx.Each(ctx, func(rows *sql.Rows) error {
			var key lineKey
			var quantity sql.NullInt64
			var stored storedLine
			if err := rows.Scan(&key.clientID, &key.productID, &quantity, &stored.lines); err != nil {
				return err
			}
			stored.quantity = quantity.Int64
			found[key] = stored
			return nil
		}, "SELECT t.client_id, t.product_id, t.quantity,"+
			" (SELECT COUNT(*) FROM client_cart n WHERE n.client_id = t.client_id AND n.quantity > 0)"+
			" FROM "+tx.Dialect().JoinKeys("client_cart", len(chunk), "client_id", "product_id"), lineArgs(chunk)...)
		if err != nil {
			return nil, fmt.Errorf("read cart lines: %w", err)
		}
	}
	return found, nil
}

// countLines returns how many lines each client has.
func countLines(ctx context.Context, tx *database.Tx, clientIDs []string, locking string) (map[string]int, error) {
	counts := make(map[string]int, len(clientIDs))
	for chunk := range slices.Chunk(clientIDs, database.ChunkRows) {
		args := make([]any, 0, len(chunk))
		for _, id := range chunk {
			args = append(args, id)
		}
		err := tx.Each(ctx, func(rows *sql.Rows) error {
			var id string
			var count int
			if err := rows.Scan(&id, &count); err != nil {
				return err
			}
			counts[id] = count
			return nil
		}, "SELECT client_id, COUNT(*) FROM "+tx.Dialect().ByKey("client_cart")+" WHERE client_id IN "+database.In(len(chunk))+
			" AND quantity > 0 GROUP BY client_id"+locking, args...)
		if err != nil {
			return nil, fmt.Errorf("count cart lines: %w", err)
		}
	}
	return counts, nil
}

func readLines(ctx context.Context, tx *database.Tx, query string, args []any) ([]ClientLine, error) {
	var lines []ClientLine
	err := tx.Each(ctx, func(rows *sql.Rows) error {
		var line ClientLine
		var quantity sql.NullInt64
		if err := rows.Scan(&line.ClientID, &line.ProductID, &quantity); err != nil {
			return err
		}
		line.Quantity = quantity.Int64
		lines = append(lines, line)
		return nil
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read cart lines: %w", err)
	}
	return lines, nil
}

// upsertLines adds to lines, which are sorted: an unsorted upsert of many rows deadlocks. A line that would not fit its
// column makes it fail.
func upsertLines(ctx context.Context, tx *database.Tx, lines []ClientLine) error {
	for chunk := range slices.Chunk(lines, database.ChunkRows) {
		args := make([]any, 0, 3*len(chunk))
		for _, line := range chunk {
			args = append(args, line.ClientID, line.ProductID, line.Quantity)
		}
		d := tx.Dialect()
		if _, err := tx.Exec(ctx, "INSERT INTO client_cart (client_id, product_id, quantity) VALUES "+
			database.Values(len(chunk), 3)+d.OnConflict("client_id, product_id")+
			"quantity = COALESCE(client_cart.quantity, 0) + "+d.Incoming("quantity"), args...); err != nil {
			return fmt.Errorf("add to cart lines: %w", err)
		}
	}
	return nil
}

// takeFromLines takes units out of lines, which are locked and sorted.
func takeFromLines(ctx context.Context, tx *database.Tx, lines []ClientLine) error {
	for _, line := range lines {
		if _, err := tx.Exec(ctx, "UPDATE "+tx.Dialect().ByKey("client_cart")+" SET quantity = quantity - ? WHERE "+isLine,
			line.Quantity, line.ClientID, line.ProductID); err != nil {
			return fmt.Errorf("take back from a cart line: %w", err)
		}
	}
	return nil
}

// deleteLines deletes lines, which are sorted.
func deleteLines(ctx context.Context, tx *database.Tx, lines []ClientLine) error {
	for chunk := range slices.Chunk(lines, database.ChunkRows) {
		if _, err := tx.Exec(ctx, tx.Dialect().DeleteKeys("client_cart", len(chunk), "client_id", "product_id"),
			lineArgs(chunk)...); err != nil {
			return fmt.Errorf("take lines out of carts: %w", err)
		}
	}
	return nil
}

func lineArgs(lines []ClientLine) []any {
	args := make([]any, 0, 2*len(lines))
	for _, line := range lines {
		args = append(args, line.ClientID, line.ProductID)
	}
	return args
}

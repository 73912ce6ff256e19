package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"cartwheel/database"
)

// An editor changes the tables behind the shop's back, as one with an SQL prompt can, and tells the
// chaos test what it took and gave, so that the books can still be held against it.
type editor struct {
	c  *chaos
	db *database.DB

	mu      sync.Mutex
	stocked map[string]int // under mu; units that were given, less those that were taken, by product
	edits   map[string]int // under mu; what was done, by kind
}

func newEditor(c *chaos) *editor {
	c.t.Helper()
	db, err := database.Open(context.Background(), c.store.config)
	if err != nil {
		c.t.Fatalf("open the tables by manual SQL: %v", err)
	}
	c.t.Cleanup(func() {
		if err := db.Close(); err != nil {
			c.t.Errorf("close the tables: %v", err)
		}
	})
	return &editor{c: c, db: db, stocked: map[string]int{}, edits: map[string]int{}}
}

// do runs statements in one transaction. It may run them again, and where it gets no turn, as
// beside a busy embedded engine, it tries for as long as an import does.
func (e *editor) do(work func(tx *database.Tx) error) error {
	for started := time.Now(); ; {
		err := e.db.Transact(context.Background(), work, nil)
		if !errors.Is(err, database.ErrUnavailable) || time.Since(started) > 30*time.Second {
			return err
		}
	}
}

// done is how many edits there were.
func (e *editor) done() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, times := range e.edits {
		n += times
	}
	return n
}

// reckon lets the chaos test reckon with what was done to the stock. Call it once, before check.
func (e *editor) reckon() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for product, units := range e.stocked {
		e.c.stocked[product] += units
	}
	for kind, n := range e.edits {
		e.c.notef("%d %s", n, kind)
	}
}

// setStock sets what is on hand by a plain UPDATE, whatever is held.
func (e *editor) setStock(t *testing.T, product string, units int) {
	t.Helper()
	var before []int64
	if err := e.do(func(tx *database.Tx) error {
		before = nil
		if err := tx.Select(t.Context(), &before, "SELECT COALESCE(quantity, 0) FROM product_details WHERE product_id = ?"+tx.ForUpdate(), product); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), "UPDATE product_details SET quantity = ? WHERE product_id = ?", units, product)
		return err
	}); err != nil {
		t.Errorf("set the stock of %s by manual SQL: %v", product, err)
		return
	}
	if len(before) != 1 {
		t.Errorf("set the stock of %s by manual SQL: there are %d such products", product, len(before))
		return
	}
	e.did("stock levels set", product, units-int(before[0]))
}

// deleteProduct deletes a product's row, whatever is held.
func (e *editor) deleteProduct(ctx context.Context, product string) error {
	var before []int64
	err := e.do(func(tx *database.Tx) error {
		before = nil
		if err := tx.Select(ctx, &before, "SELECT COALESCE(quantity, 0) FROM product_details WHERE product_id = ?"+tx.ForUpdate(), product); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM product_details WHERE product_id = ?", product)
		return err
	})
	if err == nil && len(before) == 1 {
		e.did("products deleted", product, -int(before[0]))
	}
	return err
}

// createProduct creates a product that is not there.
func (e *editor) createProduct(ctx context.Context, product string, units int) error {
	var created int64
	err := e.do(func(tx *database.Tx) error {
		var there []string
		if err := tx.Select(ctx, &there, "SELECT product_id FROM product_details WHERE product_id = ?", product); err != nil || len(there) > 0 {
			return err
		}
		var err error
		created, err = tx.Exec(ctx, "INSERT INTO product_details (product_id, quantity) VALUES (?, ?)", product, units)
		return err
	})
	if err == nil && created == 1 {
		e.did("products created", product, units)
	}
	return err
}

func (e *editor) did(what, product string, units int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stocked[product] += units
	e.edits[what]++
}

// editLine makes a random line of a client's cart say something else: nothing in one of three ways,
// or more than there is.
func (e *editor) editLine(ctx context.Context, random *rand.Rand) error {
	type found struct {
		Client   string `db:"client_id"`
		Product  string `db:"product_id"`
		Quantity int64  `db:"quantity"`
	}
	const columns = "SELECT client_id, product_id, COALESCE(quantity, 0) AS quantity FROM client_cart"
	var lines []found
	if err := e.db.Read(ctx, func(tx *database.Tx) error {
		// Not lines that a client is about to remove or to merge: their units are accounted for
		// twice then.
		return tx.Select(ctx, &lines, columns+" WHERE product_id <> ? AND client_id NOT LIKE 'guest-%'", regretted)
	}); err != nil || len(lines) == 0 {
		return err
	}
	line := lines[random.IntN(len(lines))]
	kinds := []string{"cart lines set to NULL", "cart lines set to 0", "cart lines set too large", "cart lines deleted"}
	statements := []string{
		"UPDATE client_cart SET quantity = NULL", "UPDATE client_cart SET quantity = 0",
		"UPDATE client_cart SET quantity = 2000000000", "DELETE FROM client_cart",
	}
	kind := random.IntN(len(kinds))
	var before []found
	if err := e.do(func(tx *database.Tx) error {
		before = nil
		const one = " WHERE client_id = ? AND product_id = ?"
		if err := tx.Select(ctx, &before, columns+one+tx.ForUpdate(), line.Client, line.Product); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, statements[kind]+one, line.Client, line.Product)
		return err
	}); err != nil {
		return err
	}
	if len(before) == 0 { // bought at the same time
		return nil
	}
	change := -before[0].Quantity
	if kind == slices.Index(kinds, "cart lines set too large") {
		change += 2_000_000_000
	}
	e.c.shoppers.mu.Lock()
	e.c.shoppers.sure[cartLine{line.Client, line.Product}] += change
	e.c.shoppers.mu.Unlock()
	e.mu.Lock()
	e.edits[kinds[kind]]++
	e.mu.Unlock()
	return nil
}

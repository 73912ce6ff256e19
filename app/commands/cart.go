package commands

import (
	"context"
	"errors"
	"fmt"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/inventory"
)

// Cart is the command group cart.
type Cart struct {
	Show cartShowCommand `cmd:"" help:"Show what is in a client's cart."`
}

type cartShowCommand struct {
	Storage
	Output
	Client string `arg:"" placeholder:"CLIENT" help:"The client's ID, exactly."`
}

// A shownCart is a cart as cart show --json prints it.
type shownCart struct {
	ClientID string      `json:"clientID"`
	Lines    []shownLine `json:"lines"`
}

type shownLine struct {
	ProductID string `json:"productID"`
	Quantity  int64  `json:"quantity"`
	Available int64  `json:"available"` // 0 also for a product that does not exist any more
}

// Run shows the cart.
func (c cartShowCommand) Run(ctx context.Context, console Console) error {
	return c.reading(ctx, console, func(ctx context.Context, db *database.DB) error {
		shown, err := readCart(ctx, db, c.Client)
		if err != nil {
			return err
		}
		if c.JSON || len(shown.Lines) == 0 {
			return c.Print(console, shown, "The cart of "+printable(c.Client)+" is empty.")
		}
		out := newListing(console.Out, false, "PRODUCT", "QUANTITY", "AVAILABLE")
		for _, line := range shown.Lines {
			err = errors.Join(err, out.add(line, line.ProductID, line.Quantity, line.Available))
		}
		return out.end(err)
	})
}

func readCart(ctx context.Context, db *database.DB, clientID string) (shownCart, error) {
	shown := shownCart{ClientID: clientID, Lines: []shownLine{}}
	var lines cart.Store
	err := db.Snapshot(ctx, func(tx *database.Tx) error {
		found, err := lines.Get(ctx, tx, clientID)
		if err != nil {
			return err
		}
		ids := make([]string, len(found))
		for i, line := range found {
			ids[i] = line.ProductID
		}
		b := tx.Batch()
		stock := inventory.New(db).Check(b, ids)
		if err := b.Send(ctx); err != nil {
			return fmt.Errorf("check stock: %w", err)
		}
		for _, line := range found {
			level, _ := stock.Level(line.ProductID)
			shown.Lines = append(shown.Lines, shownLine{line.ProductID, line.Quantity, level.Available()})
		}
		return nil
	})
	return shown, err
}

package commands

import (
	"context"
	"errors"

	"cartwheel/cart"
	"cartwheel/checkout"
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
		views, err := cart.Views(ctx, db, inventory.New(db), checkout.UnderWay, []string{c.Client})
		if err != nil {
			return err
		}
		shown := shownCart{ClientID: c.Client, Lines: []shownLine{}}
		for _, line := range views[c.Client].Lines {
			shown.Lines = append(shown.Lines, shownLine{line.ProductID, line.Quantity, line.Available})
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

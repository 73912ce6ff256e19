package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"cartwheel/inventory"
)

// demoCatalogue is the import file that fills an empty shop, so that the first request buys
// something.
const demoCatalogue = `product_id,product_name,quantity
espresso,Espresso beans 1 kg,250
grinder,Hand grinder,40
kettle,Gooseneck kettle,25
mug,Enamel mug,500
`

func fillEmptyCatalogue(ctx context.Context, stock *inventory.Manager, log *slog.Logger) error {
	empty, err := stock.Empty(ctx)
	if err != nil {
		return fmt.Errorf("look for products: %w", err)
	}
	if !empty {
		return nil
	}
	report, err := stock.Import(ctx, strings.NewReader(demoCatalogue), inventory.Import{})
	if err != nil {
		return fmt.Errorf("fill the demo catalogue: %w", err)
	}
	log.Info("filled the empty catalogue with demo products", "products", report.Created)
	return nil
}

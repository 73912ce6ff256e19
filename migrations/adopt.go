package migrations

import (
	"context"
	"strings"
)

// adopt makes the old system's three tables ours, in place. On tables that are ours already it
// changes nothing. The old system must be stopped.
//
// InnoDB comes first: with GTIDs MySQL refuses a transaction that changes a table of another engine
// as well. Spelling comes before the conversion, which forgets how the old keys compared; negative
// quantities before the CHECK that forbids them; tokens last, when they compare to the journal's
// IDs as ours do.
func (r repairer) adopt(ctx context.Context) error {
	if err := checkAdoptable(ctx, r.catalogue); err != nil {
		return err
	}
	for _, step := range []func(context.Context, tableSpec) error{
		r.useInnoDB, r.spellCartLines, r.zeroNegatives, r.reshape,
	} {
		for _, t := range replacedTables() {
			if err := step(ctx, t); err != nil {
				return err
			}
		}
	}
	return r.deleteOrphanReservations(ctx)
}

func (r repairer) useInnoDB(ctx context.Context, t tableSpec) error {
	have, err := r.tableNamed(ctx, t.name)
	if err != nil || strings.EqualFold(have.Engine, "InnoDB") {
		return err
	}
	return r.alter(ctx, t.name, "ENGINE = InnoDB")
}

// spellCartLines gives cart lines the spelling of the product that the old comparison took them for
// ('Shoe' for 'shoe'). Under the new one they would name no product, and a cart with such a line
// could never be bought.
func (r repairer) spellCartLines(ctx context.Context, t tableSpec) error {
	if t.name != "client_cart" {
		return nil
	}
	carts, err := r.tableNamed(ctx, t.name)
	if err != nil {
		return err
	}
	products, err := r.tableNamed(ctx, "product_details")
	if err != nil {
		return err
	}
	// The key of old proves that no two lines of a cart become one.
	old := carts.columns["product_id"].Collation
	if old != products.columns["product_id"].Collation || old == exact || carts.key == "" {
		return nil
	}
	const join = "client_cart AS c JOIN product_details AS p ON p.product_id = c.product_id"
	const differ = " WHERE CAST(p.product_id AS BINARY) <> CAST(c.product_id AS BINARY)"
	return r.change(ctx, "spelled cart lines as their product is", t.name,
		"SELECT CONCAT(c.client_id, ' ', c.product_id) FROM "+join+differ,
		"UPDATE "+join+" SET c.product_id = p.product_id"+differ)
}

// zeroNegatives sets quantities below 0, which the old system's races left, to 0: in stock that is
// sold out, in a cart no line.
func (r repairer) zeroNegatives(ctx context.Context, t tableSpec) error {
	if !t.checked {
		return nil
	}
	return r.change(ctx, "set negative quantities to 0", t.name,
		"SELECT CONCAT_WS(' ', "+t.key+") FROM "+t.name+" WHERE quantity < 0",
		"UPDATE "+t.name+" SET quantity = 0 WHERE quantity < 0")
}

// deleteOrphanReservations deletes the reservations that no checkout in the journal owns. Of the
// old system's tokens that is every one: its work under way is gone with its queues, and its tokens
// reserved stock for ever.
func (r repairer) deleteOrphanReservations(ctx context.Context) error {
	// A reservation's ID is its checkout's ID, a colon, and a number.
	const unowned = " FROM reserve_purchase AS r WHERE NOT EXISTS" +
		" (SELECT 1 FROM checkout_journal AS j WHERE j.checkout_id = SUBSTRING_INDEX(r.reserve_id, ':', 1))"
	return r.change(ctx, "deleted reservations without a checkout", "reserve_purchase",
		"SELECT r.reserve_id"+unowned+" ORDER BY r.reserve_id", "DELETE r"+unowned)
}

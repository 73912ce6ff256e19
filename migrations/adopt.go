package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// maxSamples is how many of the rows that a step changed the log names.
const maxSamples = 5

// A session runs statements: one connection, or a pool of them.
type session interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// An adoptionStep mends one thing. It looks first whether there is anything to mend, so it may run
// again after a crash anywhere: the server commits each ALTER by itself.
type adoptionStep struct {
	name string
	run  func(ctx context.Context, conn session, log *slog.Logger) error
}

// adoptWith returns the migration that makes the old system's three tables ours, in place. On
// tables that are ours already it changes nothing. The old system must be stopped.
func adoptWith(log *slog.Logger) func(context.Context, *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error {
		if err := checkAdoptable(ctx, tx); err != nil {
			return err
		}
		for _, step := range adoptionSteps() {
			if err := step.run(ctx, tx, log); err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
		}
		return nil
	}
}

// adoptionSteps returns the steps in their order. InnoDB comes first: with GTIDs MySQL refuses a
// transaction that changes a table of another engine as well. Spelling comes before the conversion,
// which forgets how the old keys compared; negative quantities before the CHECK that forbids them;
// tokens last, when they compare to the journal's IDs as ours do.
func adoptionSteps() []adoptionStep {
	var steps []adoptionStep
	for _, t := range replacedTables() {
		steps = append(steps, adoptionStep{"store " + t.name + " in InnoDB", t.useInnoDB})
	}
	steps = append(steps, adoptionStep{"spell cart lines as their product", spellCartLines})
	for _, t := range replacedTables() {
		if t.check != "" {
			steps = append(steps, adoptionStep{"mend negative quantities of " + t.name, t.zeroNegatives})
		}
	}
	for _, t := range replacedTables() {
		steps = append(steps,
			adoptionStep{"make " + t.name + " compare binary", t.compareBinary},
			adoptionStep{"give " + t.name + " its primary key", t.addPrimaryKey},
		)
		if t.check != "" {
			steps = append(steps, adoptionStep{"give " + t.name + " its CHECK", t.addCheck})
		}
	}
	return append(steps,
		adoptionStep{"give reserve_purchase its index", addReservedIndex},
		adoptionStep{"delete the reservations that no checkout owns", deleteOrphanReservations})
}

// spellCartLines gives cart lines the spelling of the product that the old comparison took them for
// ('Shoe' for 'shoe'). Under the new one they would name no product, and a cart with such a line
// could never be bought.
func spellCartLines(ctx context.Context, conn session, log *slog.Logger) error {
	lines, err := collationOf(ctx, conn, "client_cart", "product_id")
	if err != nil {
		return err
	}
	products, err := collationOf(ctx, conn, "product_details", "product_id")
	if err != nil {
		return err
	}
	key, err := primaryKeyOf(ctx, conn, "client_cart")
	if err != nil {
		return err
	}
	// The key of old proves that no two lines of a cart become one.
	if lines != products || lines == "utf8mb4_bin" || len(key) == 0 {
		return nil
	}
	const join = "client_cart AS c JOIN product_details AS p ON p.product_id = c.product_id"
	const differ = "CAST(p.product_id AS BINARY) <> CAST(c.product_id AS BINARY)"
	samples, err := column(ctx, conn, "SELECT CONCAT(c.client_id, ' ', c.product_id) FROM "+join+" WHERE "+differ+" LIMIT ?", maxSamples)
	if err != nil {
		return err
	}
	return change(ctx, conn, log, "spelled cart lines as their product is", "client_cart", samples,
		"UPDATE "+join+" SET c.product_id = p.product_id WHERE "+differ)
}

// zeroNegatives sets quantities below 0, which the old system's races left, to 0: in stock that is
// sold out, in a cart no line.
func (t tableSpec) zeroNegatives(ctx context.Context, conn session, log *slog.Logger) error {
	samples, err := column(ctx, conn,
		fmt.Sprintf("SELECT CONCAT_WS(' ', %s) FROM %s WHERE quantity < 0 LIMIT ?", strings.Join(t.key, ", "), t.name), maxSamples)
	if err != nil {
		return err
	}
	return change(ctx, conn, log, "set negative quantities to 0", t.name, samples,
		"UPDATE "+t.name+" SET quantity = 0 WHERE quantity < 0")
}

func (t tableSpec) useInnoDB(ctx context.Context, conn session, log *slog.Logger) error {
	var engine string
	err := conn.QueryRowContext(ctx,
		"SELECT engine FROM information_schema.tables WHERE table_schema = database() AND table_name = ?", t.name).Scan(&engine)
	if err != nil || strings.EqualFold(engine, "InnoDB") {
		return err
	}
	return alter(ctx, conn, log, t.name, "ENGINE = InnoDB")
}

// compareBinary converts the table to utf8mb4_bin. checkAdoptable has seen to it that no two keys
// become equal.
func (t tableSpec) compareBinary(ctx context.Context, conn session, log *slog.Logger) error {
	converted, err := t.comparesBinary(ctx, conn)
	if err != nil || converted {
		return err
	}
	return alter(ctx, conn, log, t.name, "CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
}

func (t tableSpec) comparesBinary(ctx context.Context, conn session) (bool, error) {
	for _, name := range t.text() {
		collation, err := collationOf(ctx, conn, t.name, name)
		if err != nil || collation != "utf8mb4_bin" {
			return false, err
		}
	}
	return true, nil
}

func (t tableSpec) addPrimaryKey(ctx context.Context, conn session, log *slog.Logger) error {
	key, err := primaryKeyOf(ctx, conn, t.name)
	if err != nil || len(key) > 0 {
		return err
	}
	return alter(ctx, conn, log, t.name, "ADD PRIMARY KEY ("+strings.Join(t.key, ", ")+")")
}

func (t tableSpec) addCheck(ctx context.Context, conn session, log *slog.Logger) error {
	clauses, err := checksOf(ctx, conn, t.name)
	if err != nil || slices.Contains(clauses, "quantity>=0") {
		return err
	}
	return alter(ctx, conn, log, t.name, "ADD CONSTRAINT "+t.check+" CHECK (quantity >= 0)")
}

func addReservedIndex(ctx context.Context, conn session, log *slog.Logger) error {
	return addIndex(ctx, conn, log, "reserve_purchase", "reserve_purchase_held", []string{"product_id", quantityColumn})
}

// addIndex adds an index unless there is one over exactly these columns, whatever its name.
func addIndex(ctx context.Context, conn session, log *slog.Logger, table, name string, columns []string) error {
	have, err := indexesOf(ctx, conn, table)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(have, func(i index) bool { return slices.Equal(i.columns, columns) }) {
		return nil
	}
	return alter(ctx, conn, log, table, "ADD INDEX "+name+" ("+strings.Join(columns, ", ")+")")
}

// deleteOrphanReservations deletes the holds that no checkout in the journal owns. Of the old
// system's tokens that is every one: its work under way is gone with its queues, and its tokens
// held stock for ever.
func deleteOrphanReservations(ctx context.Context, conn session, log *slog.Logger) error {
	// A hold's ID is its checkout's ID, a colon, and a number.
	const unowned = "NOT EXISTS (SELECT 1 FROM checkout_journal AS j WHERE j.checkout_id = SUBSTRING_INDEX(r.reserve_id, ':', 1))"
	samples, err := column(ctx, conn, "SELECT r.reserve_id FROM reserve_purchase AS r WHERE "+unowned+" ORDER BY r.reserve_id LIMIT ?", maxSamples)
	if err != nil {
		return err
	}
	return change(ctx, conn, log, "deleted reservations without a checkout", "reserve_purchase", samples,
		"DELETE r FROM reserve_purchase AS r WHERE "+unowned)
}

// change runs a statement that mends rows, and logs how many it found.
func change(ctx context.Context, conn session, log *slog.Logger, what, table string, samples []string, statement string) error {
	if len(samples) == 0 {
		return nil
	}
	result, err := conn.ExecContext(ctx, statement)
	if err != nil {
		return err
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "adopting: "+what, "table", table, "rows", rows, "samples", samples)
	return nil
}

// alter changes the table's shape, and logs how many rows it holds: the server may copy each of
// them.
func alter(ctx context.Context, conn session, log *slog.Logger, table, clause string) error {
	var rows int64
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&rows); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "ALTER TABLE "+table+" "+clause); err != nil {
		return err
	}
	level := slog.LevelInfo
	if rows == 0 {
		level = slog.LevelDebug // a new table: nothing is being adopted
	}
	log.Log(ctx, level, "adopting: altered the table", "table", table, "rows", rows, "change", clause)
	return nil
}

package migrations

import (
	"fmt"
	"slices"
	"strings"
)

// The collations of our columns. Keys compare byte by byte; an idempotency key is visible ASCII.
const (
	exact = "utf8mb4_bin"
	ascii = "ascii_bin"
)

// A columnSpec is a column as our statements need it.
type columnSpec struct {
	name      string
	dataType  string // as information_schema names it
	length    int    // minimum, in characters; of a datetime the digits of a second's fraction
	collation string // empty for other than text
	nullable  bool   // our statements may write NULL
}

// sqlType returns the column's type on a MySQL server.
func (c columnSpec) sqlType() string {
	if c.length == 0 {
		return c.dataType
	}
	return fmt.Sprintf("%s(%d)", c.dataType, c.length)
}

// definition returns the column as a CREATE TABLE of a MySQL server has it.
func (c columnSpec) definition() string {
	text := c.name + " " + c.sqlType()
	if c.collation != "" {
		charset, _, _ := strings.Cut(c.collation, "_")
		text += " CHARACTER SET " + charset + " COLLATE " + c.collation
	}
	if c.nullable {
		return text + " NULL"
	}
	return text + " NOT NULL"
}

// An index is a secondary index of a table. Columns are separated by ", ", here and in keys.
type index struct {
	Name    string
	Columns string
	Unique  bool `db:"is_unique"`
}

// A tableSpec is one of our tables as the migrations leave it. Adoption gives a table this shape,
// Verify compares with it, and Copy reads its columns.
type tableSpec struct {
	name    string
	columns []columnSpec
	key     string
	checked bool // it has CHECK (quantity >= 0)
	// indexes have their names on MySQL servers. An adopted table may name them otherwise.
	indexes []index
	// replaced says that the replaced system has the table too.
	replaced bool
}

// schema returns all tables but goose's own.
func schema() []tableSpec {
	id := func(name string) columnSpec { return columnSpec{name, "varchar", 100, exact, false} }
	quantity := columnSpec{"quantity", "int", 0, "", true}
	return []tableSpec{
		{
			name: "product_details", key: "product_id", checked: true, replaced: true,
			columns: []columnSpec{id("product_id"), {"product_name", "varchar", 100, exact, true}, quantity},
		},
		{
			name: "client_cart", key: "client_id, product_id", checked: true, replaced: true,
			columns: []columnSpec{id("client_id"), id("product_id"), quantity},
		},
		{
			name: "reserve_purchase", key: "reserve_id", replaced: true,
			indexes: []index{{Name: "reserve_purchase_held", Columns: "product_id, quantity"}},
			columns: []columnSpec{id("reserve_id"), {"product_id", "varchar", 100, exact, true}, quantity},
		},
		{
			name: "checkout_journal", key: "checkout_id",
			indexes: []index{
				{Name: "lease_expires_at", Columns: "lease_expires_at"},
				{Name: "client_id", Columns: "client_id, lease_expires_at"},
				{Name: "checkout_journal_client_id", Columns: "client_id, checkout_id"},
				{Name: "checkout_journal_state", Columns: "state, checkout_id"},
				{Name: "checkout_journal_committed_event", Columns: "committed_event_due_at"},
				{Name: "checkout_journal_cancelled_event", Columns: "cancelled_event_due_at"},
			},
			columns: []columnSpec{
				{"checkout_id", "varchar", 36, exact, false},
				id("client_id"),
				{"state", "varchar", 16, exact, false},
				{"epoch", "int", 0, "", false},
				{"lease_expires_at", "datetime", 6, "", true},
				{"items", "mediumtext", 0, exact, false},
				{"reason", "varchar", 500, exact, true},
				{"idempotency_key", "varchar", 255, ascii, true},
				{"created_at", "datetime", 6, "", false},
				{"updated_at", "datetime", 6, "", false},
				{"reference", "varchar", 255, ascii, true},
				{"committed_event_due_at", "datetime", 6, "", true},
				{"cancelled_event_due_at", "datetime", 6, "", true},
			},
		},
		{
			name: "idempotency_key", key: "client_id, endpoint, idempotency_key",
			indexes: []index{{Name: "created_at", Columns: "created_at"}},
			columns: []columnSpec{
				id("client_id"),
				{"endpoint", "varchar", 32, exact, false},
				{"idempotency_key", "varchar", 255, ascii, false},
				{"request_hash", "binary", 32, "", false},
				{"http_status", "int", 0, "", true},
				{"body", "mediumtext", 0, exact, true},
				{"created_at", "datetime", 6, "", false},
				{"error_code", "varchar", 32, ascii, true},
				{"checkout_id", "varchar", 36, exact, true},
			},
		},
		// A version per product. On a cluster with several nodes transactions that lock the same
		// rows on two nodes are not certified against each other; those that write the same row
		// are.
		{
			name: "product_guard", key: "product_id",
			columns: []columnSpec{id("product_id"), {"version", "bigint", 0, "", false}},
		},
	}
}

// expressions returns one expression for each column, separated by commas.
func (t tableSpec) expressions(of func(columnSpec) string) string {
	all := make([]string, len(t.columns))
	for i, c := range t.columns {
		all[i] = of(c)
	}
	return strings.Join(all, ", ")
}

// replacedTables returns the tables that the replaced system has too.
func replacedTables() []tableSpec {
	return slices.DeleteFunc(schema(), func(t tableSpec) bool { return !t.replaced })
}

// tableNames returns all tables' names, each between quote characters and separated by sep.
func tableNames(quote, sep string) string {
	var names []string
	for _, t := range schema() {
		names = append(names, quote+t.name+quote)
	}
	return strings.Join(names, sep)
}

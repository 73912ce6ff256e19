package migrations

import (
	"slices"
	"strings"
)

// The collations of our columns. Keys compare byte by byte; an idempotency key is visible ASCII.
const (
	exact = "utf8mb4_bin"
	ascii = "ascii_bin"
)

// quantityColumn is the column that is added up.
const quantityColumn = "quantity"

// A columnSpec is a column as our statements need it.
type columnSpec struct {
	name      string
	dataType  string // as information_schema names it
	length    int    // minimum, in characters; of a datetime the digits of a second's fraction
	collation string // empty for other than text
	nullable  bool   // our statements may write NULL
}

// A tableSpec is one of our tables as the migrations leave it. Verify and Copy read it.
type tableSpec struct {
	name    string
	columns []columnSpec
	key     []string
	// check is the name of the constraint CHECK (quantity >= 0), empty where the table has none.
	// MySQL requires it to be unique in the database.
	check   string
	indexes [][]string // the columns of each secondary index
	// replaced says that the replaced system has the table too.
	replaced bool
}

// schema returns all tables but goose's own.
func schema() []tableSpec {
	id := func(name string) columnSpec { return columnSpec{name, "varchar", 100, exact, false} }
	quantity := columnSpec{quantityColumn, "int", 0, "", true}
	productID := id("product_id")
	reservedProduct := productID
	reservedProduct.nullable = true
	return []tableSpec{
		{
			name: "product_details", key: []string{"product_id"}, check: "product_details_quantity_check", replaced: true,
			columns: []columnSpec{productID, {"product_name", "varchar", 100, exact, true}, quantity},
		},
		{
			name: "client_cart", key: []string{"client_id", "product_id"}, check: "client_cart_quantity_check", replaced: true,
			columns: []columnSpec{id("client_id"), productID, quantity},
		},
		{
			name: "reserve_purchase", key: []string{"reserve_id"}, indexes: [][]string{{"product_id", quantityColumn}}, replaced: true,
			columns: []columnSpec{id("reserve_id"), reservedProduct, quantity},
		},
		{
			name: "checkout_journal", key: []string{"checkout_id"},
			indexes: [][]string{{"lease_expires_at"}, {"client_id", "lease_expires_at"}, {"client_id", "checkout_id"}, {"state", "checkout_id"},
				{"committed_event_due_at"}, {"cancelled_event_due_at"}},
			columns: []columnSpec{
				{"checkout_id", "varchar", 36, exact, false},
				id("client_id"),
				{"state", "varchar", 16, exact, false},
				{"epoch", "int", 0, "", false},
				{leaseColumn, "datetime", 6, "", true},
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
			name: "idempotency_key", key: []string{"client_id", "endpoint", "idempotency_key"}, indexes: [][]string{{"created_at"}},
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
		{
			name: guardTable, key: []string{"product_id"},
			columns: []columnSpec{productID, {"version", "bigint", 0, "", false}},
		},
	}
}

// replacedTables returns the tables that the replaced system has too.
func replacedTables() []tableSpec {
	return slices.DeleteFunc(schema(), func(t tableSpec) bool { return !t.replaced })
}

// text returns the names of the character columns.
func (t tableSpec) text() []string {
	var names []string
	for _, c := range t.columns {
		if c.collation != "" {
			names = append(names, c.name)
		}
	}
	return names
}

func (t tableSpec) column(name string) (columnSpec, bool) {
	i := slices.IndexFunc(t.columns, func(c columnSpec) bool { return strings.EqualFold(c.name, name) })
	if i < 0 {
		return columnSpec{}, false
	}
	return t.columns[i], true
}

// list returns the columns' names, separated by commas.
func (t tableSpec) list() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

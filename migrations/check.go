package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNotAdopted means that tables of the old system stand in the way as they are. Nothing was
// changed. The error says which rows, keys or columns it is about.
var ErrNotAdopted = errors.New("the tables that are there cannot be adopted as they are (nothing was changed)")

// maxConflicts is how many colliding keys, and rows without a key, an error names for each table.
const maxConflicts = 20

// checkAdoptable looks for everything that adopting could fail at, or could do harm by, and writes
// nothing. Tables that are not there are no obstacle. Errors: ErrNotAdopted, naming every obstacle
// at once.
func checkAdoptable(ctx context.Context, conn session) error {
	var obstacles []string
	for _, t := range replacedTables() {
		found, err := t.obstacles(ctx, conn)
		if err != nil {
			return fmt.Errorf("look at %s: %w", t.name, err)
		}
		obstacles = append(obstacles, found...)
	}
	for _, look := range []func(context.Context, session) ([]string, error){foreignKeys, triggers, events} {
		found, err := look(ctx, conn)
		if err != nil {
			return fmt.Errorf("look at what is attached to the tables: %w", err)
		}
		obstacles = append(obstacles, found...)
	}
	if len(obstacles) > 0 {
		return fmt.Errorf("%w: %s", ErrNotAdopted, strings.Join(obstacles, "; "))
	}
	return nil
}

func (t tableSpec) obstacles(ctx context.Context, conn session) ([]string, error) {
	kinds, err := column(ctx, conn,
		"SELECT table_type FROM information_schema.tables WHERE table_schema = database() AND table_name = ?", t.name)
	switch {
	case err != nil || len(kinds) == 0:
		return nil, err
	case kinds[0] != "BASE TABLE":
		return []string{fmt.Sprintf("%s is a %s, not a table", t.name, strings.ToLower(kinds[0]))}, nil
	}
	// The rows can be looked at only once the columns are known to be there.
	if found, err := t.columnObstacles(ctx, conn); err != nil || len(found) > 0 {
		return found, err
	}
	return t.rowObstacles(ctx, conn)
}

// columnObstacles finds columns that are missing, of another type than ours, or that our inserts
// would not fill, and a primary key over other columns.
func (t tableSpec) columnObstacles(ctx context.Context, conn session) ([]string, error) {
	columns, err := rowsOf(ctx, conn, `
		SELECT LOWER(column_name), LOWER(data_type), LOWER(column_type), COALESCE(character_maximum_length, 0) >= 100,
			is_nullable = 'NO' AND column_default IS NULL AND extra = ''
		FROM information_schema.columns WHERE table_schema = database() AND table_name = ?`, t.name)
	if err != nil {
		return nil, err
	}
	var found []string
	missing := append(t.text(), "quantity")
	for _, c := range columns {
		name, dataType, columnType, longEnough, mustBeFilled := c[0], c[1], c[2], c[3] == "1", c[4] == "1"
		i := slices.Index(missing, name)
		if i < 0 {
			if mustBeFilled {
				found = append(found, fmt.Sprintf("%s.%s must be filled by whoever inserts, and Cartwheel does not know it: give it a default", t.name, name))
			}
			continue
		}
		missing = slices.Delete(missing, i, i+1)
		switch {
		case name == "quantity" && (dataType != "int" || strings.Contains(columnType, "unsigned")):
			found = append(found, fmt.Sprintf("%s.quantity is %s, not int", t.name, columnType))
		case name != "quantity" && (dataType != "varchar" || !longEnough):
			found = append(found, fmt.Sprintf("%s.%s is %s, not varchar(100)", t.name, name, columnType))
		}
	}
	for _, name := range missing {
		found = append(found, fmt.Sprintf("%s has no column %s", t.name, name))
	}
	key, err := primaryKeyOf(ctx, conn, t.name)
	if err != nil {
		return nil, err
	}
	if len(key) > 0 && !slices.Equal(key, t.key) {
		found = append(found, fmt.Sprintf("%s has the primary key (%s), not (%s)", t.name, strings.Join(key, ", "), strings.Join(t.key, ", ")))
	}
	return found, nil
}

// rowObstacles finds rows whose keys are equal under utf8mb4_bin, which does not count trailing
// spaces, and rows without a key.
func (t tableSpec) rowObstacles(ctx context.Context, conn session) ([]string, error) {
	if sound, err := t.keysAreSound(ctx, conn); err != nil || sound {
		return nil, err
	}
	var plain, null, converted, numbered, match []string
	for i, name := range t.key {
		c := "CONVERT(k." + name + " USING utf8mb4) COLLATE utf8mb4_bin"
		plain = append(plain, "k."+name)
		null = append(null, "k."+name+" IS NULL")
		converted = append(converted, c)
		numbered = append(numbered, fmt.Sprintf("%s AS key%d", c, i))
		match = append(match, fmt.Sprintf("%s = same.key%d", c, i))
	}
	from := " FROM " + t.name + " AS k "
	var found []string
	without, err := rowsOf(ctx, conn,
		"SELECT "+strings.Join(plain, ", ")+", k.quantity"+from+"WHERE "+strings.Join(null, " OR ")+" LIMIT ?", maxConflicts)
	if err != nil {
		return nil, err
	}
	if len(without) > 0 {
		found = append(found, fmt.Sprintf("%s has rows without a key (%s, quantity): %s", t.name, strings.Join(t.key, ", "), tuples(without)))
	}
	same, err := rowsOf(ctx, conn, "SELECT "+strings.Join(plain, ", ")+from+
		"JOIN (SELECT "+strings.Join(numbered, ", ")+from+"GROUP BY "+strings.Join(converted, ", ")+" HAVING count(*) > 1 LIMIT ?) AS same"+
		" ON "+strings.Join(match, " AND ")+" ORDER BY "+strings.Join(converted, ", ")+" LIMIT ?", maxConflicts, 2*maxConflicts)
	if err != nil {
		return nil, err
	}
	if len(same) > 0 {
		found = append(found, fmt.Sprintf("%s has keys (%s) that utf8mb4_bin takes for the same, trailing spaces not counting: %s",
			t.name, strings.Join(t.key, ", "), tuples(same)))
	}
	return found, nil
}

// keysAreSound reports, in one pass over the rows, that no two keys can become equal: a primary key
// keeps them apart, and either it compares as ours does, or no key ends in a space. False means
// that the keys must be compared, which takes many times as long.
func (t tableSpec) keysAreSound(ctx context.Context, conn session) (bool, error) {
	key, err := primaryKeyOf(ctx, conn, t.name)
	if err != nil || len(key) == 0 {
		return false, err
	}
	if binary, err := t.comparesBinary(ctx, conn); err != nil || binary {
		return binary, err
	}
	var endInSpace []string
	for _, name := range t.key {
		collation, err := collationOf(ctx, conn, t.name, name)
		if err != nil {
			return false, err
		}
		// Of other character sets, two characters may become one in utf8mb4.
		if charset, _, _ := strings.Cut(collation, "_"); !slices.Contains([]string{"ascii", "latin1", "utf8", "utf8mb3", "utf8mb4"}, charset) {
			return false, nil
		}
		endInSpace = append(endInSpace, name+" LIKE '% '")
	}
	found, err := column(ctx, conn, "SELECT 1 FROM "+t.name+" WHERE "+strings.Join(endInSpace, " OR ")+" LIMIT 1")
	return len(found) == 0, err
}

// foreignKeys finds those from or to the three tables: a column in one cannot be converted, and
// what its other end does to our rows is not ours to know.
func foreignKeys(ctx context.Context, conn session) ([]string, error) {
	rows, err := rowsOf(ctx, conn, `
		SELECT constraint_name, constraint_schema, table_name, unique_constraint_schema, referenced_table_name
		FROM information_schema.referential_constraints
		WHERE (constraint_schema = database() AND table_name IN ('client_cart', 'product_details', 'reserve_purchase'))
			OR (unique_constraint_schema = database() AND referenced_table_name IN ('client_cart', 'product_details', 'reserve_purchase'))
		ORDER BY 2, 3, 1`)
	var found []string
	for _, r := range rows {
		found = append(found, fmt.Sprintf("the foreign key %s from %s.%s to %s.%s stands in the way: drop it", r[0], r[1], r[2], r[3], r[4]))
	}
	return found, err
}

// tuples writes rows as ("a", "b"), so that trailing spaces show.
func tuples(rows [][]string) string {
	written := make([]string, len(rows))
	for i, row := range rows {
		quoted := make([]string, len(row))
		for j, value := range row {
			quoted[j] = fmt.Sprintf("%q", value)
		}
		written[i] = "(" + strings.Join(quoted, ", ") + ")"
	}
	return strings.Join(written, " ")
}

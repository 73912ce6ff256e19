package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// What follows asks information_schema in the words that MySQL 8 and MariaDB have in common. MySQL
// returns its columns' names in capitals, so results are read by position.

// collationOf returns the collation of a character column, empty for any other.
func collationOf(ctx context.Context, conn session, table, columnName string) (string, error) {
	var collation sql.NullString
	err := conn.QueryRowContext(ctx, `
		SELECT collation_name FROM information_schema.columns
		WHERE table_schema = database() AND table_name = ? AND column_name = ?`, table, columnName).Scan(&collation)
	if err != nil {
		return "", fmt.Errorf("collation of %s.%s: %w", table, columnName, err)
	}
	return collation.String, nil
}

// primaryKeyOf returns the primary key's columns in their order, none where the table has no
// primary key.
func primaryKeyOf(ctx context.Context, conn session, table string) ([]string, error) {
	return column(ctx, conn, `
		SELECT LOWER(column_name) FROM information_schema.statistics
		WHERE table_schema = database() AND table_name = ? AND index_name = 'PRIMARY' ORDER BY seq_in_index`, table)
}

// An index is a secondary index of a table.
type index struct {
	name    string
	unique  bool
	columns []string
}

// indexesOf returns the table's secondary indexes over whole columns.
func indexesOf(ctx context.Context, conn session, table string) ([]index, error) {
	rows, err := rowsOf(ctx, conn, `
		SELECT index_name, MIN(non_unique), LOWER(GROUP_CONCAT(column_name ORDER BY seq_in_index)), MAX(sub_part IS NOT NULL)
		FROM information_schema.statistics
		WHERE table_schema = database() AND table_name = ? AND index_name <> 'PRIMARY' GROUP BY index_name`, table)
	var indexes []index
	for _, r := range rows {
		if unique := r[1] == "0"; unique || r[3] == "0" {
			indexes = append(indexes, index{r[0], unique, strings.Split(r[2], ",")})
		}
	}
	return indexes, err
}

// checksOf returns the conditions of the table's CHECKs, without quotes, parentheses and spaces.
func checksOf(ctx context.Context, conn session, table string) ([]string, error) {
	// MariaDB's names are unique in a table only, and its view has the table's name; MySQL's are
	// unique in a database, and its view has not.
	var namesTable int
	err := conn.QueryRowContext(ctx, `
		SELECT count(*) FROM information_schema.columns
		WHERE table_schema = 'information_schema' AND table_name = 'CHECK_CONSTRAINTS' AND column_name = 'TABLE_NAME'`).Scan(&namesTable)
	if err != nil {
		return nil, err
	}
	query := `
		SELECT c.check_clause FROM information_schema.check_constraints AS c
		JOIN information_schema.table_constraints AS t
			ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name AND t.constraint_type = 'CHECK' AND t.enforced = 'YES'
		WHERE c.constraint_schema = database() AND t.table_name = ?`
	if namesTable > 0 {
		query = "SELECT check_clause FROM information_schema.check_constraints WHERE constraint_schema = database() AND table_name = ?"
	}
	clauses, err := column(ctx, conn, query, table)
	bare := strings.NewReplacer("`", "", "(", "", ")", "", " ", "")
	for i, clause := range clauses {
		clauses[i] = strings.ToLower(bare.Replace(clause))
	}
	return clauses, err
}

// column returns the first column of every row.
func column(ctx context.Context, conn session, query string, args ...any) ([]string, error) {
	table, err := rowsOf(ctx, conn, query, args...)
	values := make([]string, len(table))
	for i, row := range table {
		values[i] = row[0]
	}
	return values, err
}

// rowsOf returns every row as text; NULL is "NULL".
func rowsOf(ctx context.Context, conn session, query string, args ...any) (table [][]string, err error) {
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what there is to say
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values := make([]sql.NullString, len(names))
		into := make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make([]string, len(names))
		for i, v := range values {
			if row[i] = "NULL"; v.Valid {
				row[i] = v.String
			}
		}
		table = append(table, row)
	}
	return table, rows.Err()
}

package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"cartwheel/database"

	"github.com/jmoiron/sqlx"
	"github.com/jmoiron/sqlx/reflectx"
)

// A session runs statements: a transaction, or a pool of connections.
type session interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	SelectContext(ctx context.Context, into any, query string, args ...any) error
}

// A table is a table as the engine's catalogue describes it.
type table struct {
	Kind    string // empty: there is no such table
	Engine  string // empty on the embedded engine
	columns map[string]column
	key     string // the primary key's columns, empty without one
	indexes []index
	checks  []string // conditions, without quotes, parentheses and spaces
}

// A column is a column of a table. On the embedded engine, where types bind nobody, it has no type.
type column struct {
	Name           string
	Type, FullType string // varchar, varchar(100)
	Length         int
	Collation      string
	Nullable       bool
	Generated      bool `db:"is_generated"`
	Required       bool // an INSERT must name it
}

// A catalogue reads an engine's catalogue.
type catalogue struct {
	session
	table, columns, indexes, checks string // statements about one table
	attached                        string // a statement that describes what others attached to our tables
}

// catalogueOf returns the catalogue of an opened engine.
func catalogueOf(db *database.DB) catalogue {
	if db.Embedded() {
		return embeddedCatalogue(sqlx.NewDb(db.Setup(), "sqlite"))
	}
	return serverCatalogue(sqlx.NewDb(db.Setup(), "mysql"))
}

// inTransaction is a session of goose's.
func inTransaction(tx *sql.Tx) session {
	return &sqlx.Tx{Tx: tx, Mapper: reflectx.NewMapperFunc("db", strings.ToLower)}
}

// serverCatalogue asks information_schema in the words that MySQL 8 and MariaDB have in common. The
// server shows triggers and events only to an account with these privileges.
func serverCatalogue(conn session) catalogue {
	return catalogue{
		session: conn,
		table: `SELECT table_type AS kind, COALESCE(engine, '') AS engine FROM information_schema.tables
			WHERE table_schema = database() AND table_name = ?`,
		columns: `
			SELECT LOWER(column_name) AS name, LOWER(data_type) AS type, LOWER(column_type) AS fulltype,
				COALESCE(character_maximum_length, datetime_precision, 0) AS length,
				COALESCE(collation_name, '') AS collation, is_nullable = 'YES' AS nullable,
				extra LIKE '%GENERATED%' AND extra NOT LIKE 'DEFAULT%' AS is_generated,
				is_nullable = 'NO' AND column_default IS NULL AND extra = '' AS required
			FROM information_schema.columns WHERE table_schema = database() AND table_name = ?`,
		// Of an index over parts of columns it says only whether it is unique.
		indexes: `
			SELECT index_name AS name, MIN(non_unique) = 0 AS is_unique,
				COALESCE(LOWER(GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ', ')), '') AS columns
			FROM information_schema.statistics WHERE table_schema = database() AND table_name = ?
			GROUP BY index_name HAVING MIN(non_unique) = 0 OR MAX(sub_part IS NOT NULL) = 0`,
		// A CHECK's name is unique in a table on MariaDB, and in a database on MySQL. Each server
		// runs the comment that is meant for it: only MariaDB's view has the table's name, and only
		// MySQL's CHECKs can be switched off.
		checks: `
			SELECT c.check_clause FROM information_schema.check_constraints AS c
			JOIN information_schema.table_constraints AS t ON t.constraint_schema = c.constraint_schema
				AND t.constraint_name = c.constraint_name AND t.constraint_type = 'CHECK'
				/*M! AND t.table_name = c.table_name */ /*!80000 AND t.enforced = 'YES' */
			WHERE c.constraint_schema = database() AND t.table_name = ?`,
		attached: `
			SELECT CONCAT('the trigger ', trigger_name, ' on ', event_object_table, ': DROP TRIGGER ', trigger_name)
			FROM information_schema.triggers
			WHERE event_object_schema = database() AND event_object_table IN (` + tableNames("'", ", ") + `)
			UNION ALL
			SELECT CONCAT('the foreign key ', constraint_name, ' from ', constraint_schema, '.', table_name,
				' to ', unique_constraint_schema, '.', referenced_table_name, ' stands in the way: drop it')
			FROM information_schema.referential_constraints
			WHERE constraint_schema = database() AND table_name IN (` + tableNames("'", ", ") + `)
				OR unique_constraint_schema = database() AND referenced_table_name IN (` + tableNames("'", ", ") + `)
			UNION ALL
			SELECT CONCAT('the event ', event_schema, '.', event_name, ' names ',
				REGEXP_SUBSTR(LOWER(event_definition), '` + tableNames("", "|") + `'),
				': ALTER EVENT ', event_schema, '.', event_name, ' DISABLE')
			FROM information_schema.events WHERE event_schema = database() AND status = 'ENABLED'
				AND LOWER(event_definition) REGEXP '` + tableNames("", "|") + `'
			ORDER BY 1`,
	}
}

// embeddedCatalogue asks SQLite. A column of an index that does not compare byte by byte has its
// collation behind its name.
func embeddedCatalogue(conn session) catalogue {
	return catalogue{
		session: conn,
		table:   "SELECT 'BASE TABLE' AS kind FROM sqlite_master WHERE type = 'table' AND name = ?",
		columns: `SELECT LOWER(name) AS name, "notnull" = 1 AND dflt_value IS NULL AND pk = 0 AS required
			FROM pragma_table_xinfo(?)`,
		indexes: `
			SELECT CASE i.origin WHEN 'pk' THEN 'PRIMARY' ELSE i.name END AS name, i."unique" AS is_unique,
				GROUP_CONCAT(LOWER(x.name) || CASE x.coll WHEN 'BINARY' THEN '' ELSE ' collate ' || x.coll END, ', '
					ORDER BY x.seqno) AS columns
			FROM pragma_index_list(?) AS i, pragma_index_xinfo(i.name) AS x WHERE x.key
			GROUP BY i.name, i.origin, i."unique"`,
		checks: `SELECT 'quantity>=0' FROM sqlite_master
			WHERE type = 'table' AND name = ? AND REPLACE(sql, ' ', '') LIKE '%check(quantity>=0)%'`,
		attached: `SELECT 'the trigger ' || name || ' on ' || tbl_name || ': DROP TRIGGER ' || name FROM sqlite_master
			WHERE type = 'trigger' AND tbl_name IN (` + tableNames("'", ", ") + `) ORDER BY 1`,
	}
}

// tableNamed returns how a table is made.
func (c catalogue) tableNamed(ctx context.Context, name string) (t table, err error) {
	var found []table
	var columns []column
	// The table first: one that is created meanwhile must not appear without its columns.
	for _, read := range []struct {
		query string
		rows  any
	}{{c.table, &found}, {c.columns, &columns}, {c.indexes, &t.indexes}, {c.checks, &t.checks}} {
		if err := c.SelectContext(ctx, read.rows, read.query, name); err != nil {
			return t, fmt.Errorf("read the catalogue on %s: %w", name, err)
		}
		if len(found) == 0 {
			return table{}, nil
		}
	}
	t.Kind, t.Engine, t.columns = found[0].Kind, found[0].Engine, make(map[string]column, len(columns))
	for _, column := range columns {
		t.columns[column.Name] = column
	}
	bare := strings.NewReplacer("`", "", "(", "", ")", "", " ", "")
	for i, clause := range t.checks {
		t.checks[i] = strings.ToLower(bare.Replace(clause))
	}
	if i := slices.IndexFunc(t.indexes, func(i index) bool { return i.Name == "PRIMARY" }); i >= 0 {
		t.key = t.indexes[i].Columns
		t.indexes = slices.Delete(t.indexes, i, i+1)
	}
	return t, nil
}

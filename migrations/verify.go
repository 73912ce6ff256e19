package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cartwheel/database"
)

// ErrChanged means that tables are no longer as the migrations left them. The error names each
// difference and its remedy.
var ErrChanged = errors.New("the tables were changed since Cartwheel made them")

// Verify compares all tables with what the statements rely on: columns, collations, keys, CHECKs,
// indexes, engine, and what others attached to them. It writes nothing. Other non-unique indexes
// and other columns that an INSERT may omit are accepted.
//
// Errors: ErrChanged; what the engine said.
func Verify(ctx context.Context, db *database.DB) error {
	find := tableDifferences
	if db.Embedded() {
		find = embeddedDifferences
	}
	var differences []string
	for _, t := range schema() {
		found, err := find(ctx, db.Setup(), t)
		if err != nil {
			return fmt.Errorf("verify %s: %w", t.name, err)
		}
		differences = append(differences, found...)
	}
	if !db.Embedded() {
		for _, look := range []func(context.Context, session) ([]string, error){foreignKeys, triggers, events} {
			found, err := look(ctx, db.Setup())
			if err != nil {
				return fmt.Errorf("verify the tables: %w", err)
			}
			differences = append(differences, found...)
		}
	}
	if len(differences) > 0 {
		return fmt.Errorf("%w (nothing was changed by this start): %s", ErrChanged, strings.Join(differences, "; "))
	}
	return nil
}

// tableDifferences compares one table of a MySQL server.
func tableDifferences(ctx context.Context, conn session, t tableSpec) ([]string, error) {
	tables, err := rowsOf(ctx, conn,
		"SELECT table_type, engine FROM information_schema.tables WHERE table_schema = database() AND table_name = ?", t.name)
	switch {
	case err != nil:
		return nil, err
	case len(tables) == 0:
		return []string{fmt.Sprintf("the table %s is gone: restore it from a backup", t.name)}, nil
	case tables[0][0] != "BASE TABLE":
		return []string{fmt.Sprintf("%s is a %s, not a table", t.name, strings.ToLower(tables[0][0]))}, nil
	}
	var found []string
	if engine := tables[0][1]; !strings.EqualFold(engine, "InnoDB") {
		found = append(found, fmt.Sprintf("%s is stored in %s: ALTER TABLE %[1]s ENGINE = InnoDB", t.name, engine))
	}
	for _, look := range []func(context.Context, session) ([]string, error){t.columnDifferences, t.indexDifferences, t.checkDifferences} {
		differences, err := look(ctx, conn)
		if err != nil {
			return nil, err
		}
		found = append(found, differences...)
	}
	return found, nil
}

func (t tableSpec) columnDifferences(ctx context.Context, conn session) ([]string, error) {
	rows, err := rowsOf(ctx, conn, `
		SELECT column_name, LOWER(data_type), LOWER(column_type), COALESCE(character_maximum_length, datetime_precision, 0),
			COALESCE(collation_name, ''), is_nullable = 'YES', extra LIKE '%GENERATED%' AND extra NOT LIKE 'DEFAULT%',
			is_nullable = 'NO' AND column_default IS NULL AND extra = ''
		FROM information_schema.columns WHERE table_schema = database() AND table_name = ?`, t.name)
	if err != nil {
		return nil, err
	}
	var found []string
	report := func(format string, args ...any) {
		found = append(found, t.name+"."+fmt.Sprintf(format, args...))
	}
	missing := slices.Clone(t.columns)
	for _, r := range rows {
		name, columnType, collation := r[0], r[2], r[4]
		want, ours := t.column(name)
		if !ours {
			if r[7] == "1" {
				report("%s must be filled by each INSERT: give it a default", name)
			}
			continue
		}
		missing = slices.DeleteFunc(missing, func(c columnSpec) bool { return c == want })
		var length int
		_, _ = fmt.Sscan(r[3], &length) // a number, from the catalogue
		text := want.collation != ""
		switch {
		case r[1] != want.dataType || strings.Contains(columnType, "unsigned") || length < want.length || r[6] == "1":
			report("%s is %s, not %s: change its type back", name, columnType, want.sqlType())
		case text && collation != want.collation:
			report("%s compares as %s, not %s: ALTER TABLE %s MODIFY %s %s CHARACTER SET %s COLLATE %[3]s (look for keys that %[2]s took for equal first)",
				name, collation, want.collation, t.name, name, columnType+" ", strings.Split(want.collation, "_")[0])
		case want.nullable && r[5] == "0":
			report("%s does not accept NULL: change it back", name)
		}
	}
	for _, c := range missing {
		report("%s is missing: restore the table from a backup", c.name)
	}
	return found, nil
}

func (c columnSpec) sqlType() string {
	if c.length == 0 {
		return c.dataType
	}
	return fmt.Sprintf("%s(%d)", c.dataType, c.length)
}

func (t tableSpec) indexDifferences(ctx context.Context, conn session) ([]string, error) {
	key, err := primaryKeyOf(ctx, conn, t.name)
	if err != nil {
		return nil, err
	}
	have, err := indexesOf(ctx, conn, t.name)
	return t.compareIndexes(key, have), err
}

// compareIndexes compares by columns: an adopted table may name its indexes otherwise.
func (t tableSpec) compareIndexes(key []string, have []index) []string {
	var found []string
	if !slices.Equal(key, t.key) {
		found = append(found, fmt.Sprintf("%s has the primary key (%s), not (%s): change it back",
			t.name, strings.Join(key, ", "), strings.Join(t.key, ", ")))
	}
	for _, i := range have {
		if i.unique {
			found = append(found, fmt.Sprintf("%s has the unique index %s (%s): drop it", t.name, i.name, strings.Join(i.columns, ", ")))
		}
	}
	for _, want := range t.indexes {
		if !slices.ContainsFunc(have, func(i index) bool {
			return len(i.columns) >= len(want) && slices.Equal(i.columns[:len(want)], want)
		}) {
			columns := strings.Join(want, ", ")
			found = append(found, fmt.Sprintf("%s has no index on (%s): CREATE INDEX %[1]s_%[3]s ON %[1]s (%[2]s)",
				t.name, columns, strings.Join(want, "_")))
		}
	}
	return found
}

// checkDifferences finds a missing CHECK, and those on our columns that could refuse what we write.
func (t tableSpec) checkDifferences(ctx context.Context, conn session) ([]string, error) {
	clauses, err := checksOf(ctx, conn, t.name)
	if err != nil {
		return nil, err
	}
	const ours = quantityColumn + ">=0"
	var found []string
	if t.check != "" && !slices.Contains(clauses, ours) {
		found = append(found, fmt.Sprintf("%s has no CHECK (quantity >= 0): ALTER TABLE %[1]s ADD CONSTRAINT %s CHECK (quantity >= 0)", t.name, t.check))
	}
	for _, clause := range clauses {
		known := clause == ours && t.check != ""
		if !known && slices.ContainsFunc(t.columns, func(c columnSpec) bool { return strings.Contains(clause, c.name) }) {
			found = append(found, fmt.Sprintf("%s has another CHECK (%s): drop it", t.name, clause))
		}
	}
	return found, nil
}

// ourTables is the list of all our tables, as SQL literals.
func ourTables() string {
	var names []string
	for _, t := range schema() {
		names = append(names, "'"+t.name+"'")
	}
	return strings.Join(names, ", ")
}

// triggers finds triggers on our tables: what they do to rows is not in our statements. The server
// shows them only to an account with the privilege TRIGGER.
func triggers(ctx context.Context, conn session) ([]string, error) {
	names, err := column(ctx, conn, `
		SELECT CONCAT('the trigger ', trigger_name, ' on ', event_object_table, ': DROP TRIGGER ', trigger_name)
		FROM information_schema.triggers
		WHERE event_object_schema = database() AND event_object_table IN (`+ourTables()+`) ORDER BY 1`)
	return names, err
}

// events finds enabled events whose statements name one of our tables. The server shows them only
// to an account with the privilege EVENT.
func events(ctx context.Context, conn session) ([]string, error) {
	rows, err := rowsOf(ctx, conn, `
		SELECT event_schema, event_name, LOWER(event_definition) FROM information_schema.events
		WHERE event_schema = database() AND status = 'ENABLED' ORDER BY 1, 2`)
	var found []string
	for _, r := range rows {
		for _, t := range schema() {
			if strings.Contains(r[2], t.name) {
				found = append(found, fmt.Sprintf("the event %s.%s names %s: ALTER EVENT %[1]s.%[2]s DISABLE", r[0], r[1], t.name))
			}
		}
	}
	return found, err
}

// embeddedDifferences compares one table of the embedded engine.
func embeddedDifferences(ctx context.Context, conn session, t tableSpec) ([]string, error) {
	statement, err := column(ctx, conn, "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", t.name)
	if err != nil {
		return nil, err
	}
	if len(statement) == 0 {
		return []string{fmt.Sprintf("the table %s is gone: restore it from a backup", t.name)}, nil
	}
	columns, err := rowsOf(ctx, conn, "SELECT LOWER(name), \"notnull\" = 1 AND dflt_value IS NULL AND pk = 0 FROM pragma_table_xinfo(?)", t.name)
	if err != nil {
		return nil, err
	}
	var found []string
	missing := slices.Clone(t.columns)
	for _, c := range columns {
		want, ours := t.column(c[0])
		missing = slices.DeleteFunc(missing, func(m columnSpec) bool { return m == want })
		if !ours && c[1] == "1" {
			found = append(found, fmt.Sprintf("%s.%s must be filled by each INSERT: give it a default", t.name, c[0]))
		}
	}
	for _, c := range missing {
		found = append(found, fmt.Sprintf("%s.%s is missing: restore the database from a backup", t.name, c.name))
	}
	compact := strings.NewReplacer(" ", "", "\n", "", "\t", "", `"`, "", "`", "")
	if t.check != "" && !strings.Contains(strings.ToLower(compact.Replace(statement[0])), "check(quantity>=0)") {
		found = append(found, t.name+" has no CHECK (quantity >= 0): restore the database from a backup")
	}
	key, have, err := embeddedIndexes(ctx, conn, t.name)
	if err != nil {
		return nil, err
	}
	found = append(found, t.compareIndexes(key, have)...)
	names, err := column(ctx, conn, `
		SELECT 'the trigger ' || name || ' on ' || tbl_name || ': DROP TRIGGER ' || name FROM sqlite_master
		WHERE type = 'trigger' AND tbl_name = ? ORDER BY 1`, t.name)
	return append(found, names...), err
}

// embeddedIndexes returns the table's primary key and its other indexes. A column that does not
// compare byte by byte has its collation behind its name.
func embeddedIndexes(ctx context.Context, conn session, table string) (key []string, have []index, err error) {
	rows, err := rowsOf(ctx, conn, `
		SELECT i.name, i."unique", i.origin, LOWER(x.name) || CASE x.coll WHEN 'BINARY' THEN '' ELSE ' collate ' || x.coll END
		FROM pragma_index_list(?) AS i, pragma_index_xinfo(i.name) AS x WHERE x.key ORDER BY i.seq, x.seqno`, table)
	for _, r := range rows {
		switch last := len(have) - 1; {
		case r[2] == "pk":
			key = append(key, r[3])
		case last >= 0 && have[last].name == r[0]:
			have[last].columns = append(have[last].columns, r[3])
		default:
			have = append(have, index{r[0], r[1] == "1", []string{r[3]}})
		}
	}
	return key, have, err
}

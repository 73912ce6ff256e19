package migrations

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cartwheel/database"
)

// ErrChanged means that tables are no longer as the migrations left them. The error names each
// difference and its remedy.
var ErrChanged = errors.New("the tables were changed since Cartwheel made them")

// Verify compares all tables with the needs of the statements: columns, collations, keys, CHECKs,
// indexes and engine. It looks for triggers, events and foreign keys, too. It writes nothing. Other
// non-unique indexes and other columns that an INSERT may omit are accepted.
//
// Errors: ErrChanged, and those of the engine.
func Verify(ctx context.Context, db *database.DB) error {
	c := catalogueOf(db)
	var found []string
	if err := c.SelectContext(ctx, &found, c.attached); err != nil {
		return fmt.Errorf("read what is attached to the tables: %w", err)
	}
	for _, t := range schema() {
		have, err := c.tableNamed(ctx, t.name)
		if err != nil {
			return err
		}
		for _, d := range t.differences(have) {
			switch {
			case d.clause == "":
			case db.Embedded():
				d.text += ": change it back, or restore the database from a backup"
			default:
				d.text += ": ALTER TABLE " + t.name + " " + d.clause
			}
			found = append(found, d.text)
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: %s", ErrChanged, strings.Join(found, "; "))
	}
	return nil
}

// A difference says how a table is not as its tableSpec has it.
type difference struct {
	text string
	// clause is what ALTER TABLE needs to make it so. Empty: the text has the remedy, for people.
	clause string
}

// differences compares a table with what our statements need.
func (t tableSpec) differences(have table) (found []difference) {
	report := func(clause, format string, args ...any) {
		found = append(found, difference{t.name + fmt.Sprintf(format, args...), clause})
	}
	switch {
	case have.Kind == "":
		return []difference{{text: "the table " + t.name + " is gone: restore it from a backup"}}
	case have.Kind != "BASE TABLE":
		report("", " is a %s, not a table", strings.ToLower(have.Kind))
		return found
	case have.Engine != "" && !strings.EqualFold(have.Engine, "InnoDB"):
		report("ENGINE = InnoDB", " is stored in %s", have.Engine)
	}
	t.compareColumns(have.columns, report)
	switch have.key {
	case t.key:
	case "":
		report("ADD PRIMARY KEY ("+t.key+")", " has no primary key")
	default:
		report("", " has the primary key (%s), not (%s): change it back", have.key, t.key)
	}
	for _, i := range have.indexes {
		if i.Unique {
			report("", " has the unique index %s (%s): drop it", i.Name, i.Columns)
		}
	}
	for _, want := range t.indexes {
		covers := func(i index) bool { return strings.HasPrefix(i.Columns+", ", want.Columns+", ") }
		if !slices.ContainsFunc(have.indexes, covers) {
			report("ADD INDEX "+want.Name+" ("+want.Columns+")", " has no index on (%s)", want.Columns)
		}
	}
	const ours = "quantity>=0"
	if t.checked && !slices.Contains(have.checks, ours) {
		report("ADD CONSTRAINT "+t.name+"_quantity_check CHECK (quantity >= 0)", " has no CHECK (quantity >= 0)")
	}
	for _, clause := range have.checks {
		names := func(c columnSpec) bool { return strings.Contains(clause, c.name) }
		if (clause != ours || !t.checked) && slices.ContainsFunc(t.columns, names) {
			report("", " has another CHECK (%s): drop it", clause)
		}
	}
	return found
}

// compareColumns reports columns that are missing or are no use to our statements, and others that
// these would have to fill.
func (t tableSpec) compareColumns(have map[string]column, report func(clause, format string, args ...any)) {
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if have[name].Required && !slices.ContainsFunc(t.columns, func(c columnSpec) bool { return c.name == name }) {
			report("", ".%s must be filled by each INSERT: give it a default", name)
		}
	}
	for _, want := range t.columns {
		c, known := have[want.name]
		if !known {
			clause := ""
			if want.nullable && !t.replaced {
				clause = "ADD COLUMN " + want.definition()
			}
			report(clause, ".%s is missing", want.name)
			continue
		}
		if c.Type == "" { // the embedded engine
			continue
		}
		switch {
		case c.Type != want.dataType || c.Length < want.length || c.Generated, strings.Contains(c.FullType, "unsigned"):
			report("", ".%s is %s, not %s: change its type back", c.Name, c.FullType, want.sqlType())
		case want.collation == exact && c.Collation != exact && t.replaced:
			report("CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
				".%s compares as %s, not %s (look for keys that become equal first)", c.Name, c.Collation, exact)
		case want.collation != "" && c.Collation != want.collation:
			report("", ".%s compares as %s, not %s: change it back", c.Name, c.Collation, want.collation)
		}
		if want.nullable && !c.Nullable {
			report("", ".%s does not accept NULL: change it back", c.Name)
		}
	}
}

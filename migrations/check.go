package migrations

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrNotAdopted means that tables of the old system stand in the way as they are. Nothing was
// changed. The error says which rows, keys or columns it is about.
var ErrNotAdopted = errors.New("the tables that are there cannot be adopted as they are (nothing was changed)")

// maxConflicts is the maximum number of rows that an error names for each obstacle.
const maxConflicts = 40

// checkAdoptable looks for every obstacle to an adoption, and writes nothing. Tables that are not
// there are no obstacle. Errors: ErrNotAdopted, naming every obstacle at once.
func checkAdoptable(ctx context.Context, c catalogue) error {
	var obstacles []string
	if err := c.SelectContext(ctx, &obstacles, c.attached); err != nil {
		return fmt.Errorf("read what is attached to the tables: %w", err)
	}
	for _, t := range replacedTables() {
		have, err := c.tableNamed(ctx, t.name)
		if err != nil {
			return err
		}
		if have.Kind == "" {
			continue
		}
		var found []string
		for _, d := range t.differences(have) {
			if d.clause == "" {
				found = append(found, d.text)
			}
		}
		if len(found) == 0 { // the columns are there, so that the rows can be looked at
			if found, err = t.rowObstacles(ctx, c); err != nil {
				return fmt.Errorf("look for rows of %s that stand in the way: %w", t.name, err)
			}
		}
		obstacles = append(obstacles, found...)
	}
	if len(obstacles) > 0 {
		return fmt.Errorf("%w: %s", ErrNotAdopted, strings.Join(obstacles, "; "))
	}
	return nil
}

// rowObstacles finds rows without a key, and rows whose keys are equal under utf8mb4_bin, which
// does not count trailing spaces.
func (t tableSpec) rowObstacles(ctx context.Context, c catalogue) (found []string, err error) {
	var quoted, null, binary []string
	for name := range strings.SplitSeq(t.key, ", ") {
		quoted = append(quoted, "QUOTE("+name+")")
		null = append(null, name+" IS NULL")
		binary = append(binary, "CONVERT("+name+" USING utf8mb4) COLLATE utf8mb4_bin")
	}
	tuple := "SELECT CONCAT('(', CONCAT_WS(', ', " + strings.Join(quoted, ", ") + ", quantity), ')') FROM "
	keyless, order := strings.Join(null, " OR "), strings.Join(binary, ", ")
	counted := "(SELECT *, COUNT(*) OVER (PARTITION BY " + order + ") AS equal_keys FROM " + t.name +
		" WHERE NOT (" + keyless + ")) AS k"
	for _, look := range []struct{ what, query string }{
		{"rows without a key", tuple + t.name + " WHERE " + keyless},
		{"keys that utf8mb4_bin takes for the same, trailing spaces not counting",
			tuple + counted + " WHERE equal_keys > 1 ORDER BY " + order},
	} {
		var rows []string
		if err := c.SelectContext(ctx, &rows, look.query+" LIMIT ?", maxConflicts); err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			found = append(found,
				fmt.Sprintf("%s has %s (%s, quantity): %s", t.name, look.what, t.key, strings.Join(rows, " ")))
		}
	}
	return found, nil
}

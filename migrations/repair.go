package migrations

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
)

// maxSamples is the maximum number of changed rows that a line of the log names.
const maxSamples = 5

// A repairer changes the tables of a MySQL server and logs what it changes. Each of its methods
// looks first whether there is anything to do, so it may run again after a crash anywhere: the
// server commits each ALTER by itself.
type repairer struct {
	catalogue
	log *slog.Logger
}

// reshapeOwn creates our own tables and adds the columns and indexes that they lack, those of later
// migrations included.
func (r repairer) reshapeOwn(ctx context.Context) error {
	for _, t := range schema() {
		if t.replaced {
			continue
		}
		if _, err := r.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+t.name+" ("+t.expressions(columnSpec.definition)+
			", PRIMARY KEY ("+t.key+")) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"); err != nil {
			return fmt.Errorf("create %s: %w", t.name, err)
		}
		if err := r.reshape(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// change runs a statement that changes rows, if sampling finds any, and logs how many it changed.
func (r repairer) change(ctx context.Context, what, name, sampling, statement string) error {
	var samples []string
	if err := r.SelectContext(ctx, &samples, sampling+" LIMIT ?", maxSamples); err != nil || len(samples) == 0 {
		return err
	}
	result, err := r.ExecContext(ctx, statement)
	if err != nil {
		return fmt.Errorf("change rows of %s: %w", name, err)
	}
	rows, err := result.RowsAffected()
	r.log.InfoContext(ctx, "adopting: "+what, "table", name, "rows", rows, "samples", samples)
	return err
}

// reshape gives the table the shape that t describes, as far as ALTER TABLE alone can do so.
func (r repairer) reshape(ctx context.Context, t tableSpec) error {
	have, err := r.tableNamed(ctx, t.name)
	if err != nil {
		return err
	}
	done := []string{""} // no clause: people have to change it
	for _, d := range t.differences(have) {
		if slices.Contains(done, d.clause) {
			continue
		}
		if err := r.alter(ctx, t.name, d.clause); err != nil {
			return err
		}
		done = append(done, d.clause)
	}
	return nil
}

// alter changes the table's shape, and logs how many rows it holds: the server may copy each of
// them.
func (r repairer) alter(ctx context.Context, name, clause string) error {
	var rows []int64
	if err := r.SelectContext(ctx, &rows, "SELECT count(*) FROM "+name); err != nil {
		return err
	}
	if _, err := r.ExecContext(ctx, "ALTER TABLE "+name+" "+clause); err != nil {
		return fmt.Errorf("alter %s: %s: %w", name, clause, err)
	}
	if rows[0] > 0 { // else the table is new, and nothing is being adopted
		r.log.InfoContext(ctx, "adopting: altered the table", "table", name, "rows", rows[0], "change", clause)
	}
	return nil
}

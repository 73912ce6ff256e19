package sqlite

import (
	"errors"
	"path/filepath"
	"testing"

	"modernc.org/sqlite"

	"cartwheel/database/engine"
)

func TestFault_tellsWhatAnErrorMeans(t *testing.T) {
	t.Parallel()
	db := pool(filepath.Join(t.TempDir(), "faults.db"), 1, busyTimeout, "")
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	run := func(statement string) error {
		_, err := db.ExecContext(t.Context(), statement)
		return err
	}
	if err := run("CREATE TABLE key (a int PRIMARY KEY, b int UNIQUE, c int CHECK (c >= 0)); INSERT INTO key VALUES (1, 1, 1)"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		err  error
		want engine.Fault
	}{
		{"syntax", run("SELEC 1"), engine.Other},
		{"a check", run("INSERT INTO key VALUES (2, 2, -1)"), engine.Other},
		{"a primary key", run("INSERT INTO key VALUES (1, 2, 1)"), engine.Duplicate},
		{"a unique column", run("INSERT INTO key VALUES (2, 1, 1)"), engine.Duplicate},
		{"read-only", errors.Join(run("PRAGMA query_only = 1"), run("INSERT INTO key VALUES (2, 2, 1)")), engine.Refused},
	} {
		var lite *sqlite.Error
		if got, _ := Fault(test.err); got != test.want || !errors.As(test.err, &lite) {
			t.Errorf("%s: got fault %d of %v, want %d", test.name, got, test.err, test.want)
		}
	}
}

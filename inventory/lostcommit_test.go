package inventory_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/database/databasetest/proxy"
	"cartwheel/inventory"
)

// through opens the database of dsn through a proxy that gives its COMMITs these fates.
func through(t *testing.T, dsn string, fates ...proxy.Fate) *database.DB {
	t.Helper()
	settings, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.Listen(settings.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close the proxy: %v", err)
		}
	})
	settings.Net, settings.Addr = "tcp", p.Address()
	db := databasetest.Open(t, database.Config{MySQLDSN: settings.FormatDSN()})
	p.Next(fates...) // only now: migrating commits, too
	return db
}

func TestImport_addingStopsAfterALostCommit(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for what, lost := range map[string]struct {
			fate  proxy.Fate
			taken int // rows
		}{
			"the commit was done":     {proxy.CutAfter(), 2 * chunk},
			"the commit was not done": {proxy.CutBefore(), chunk},
		} {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				dsn := databasetest.ServerDSN(t, flavour)
				direct := databasetest.Open(t, database.Config{MySQLDSN: dsn})
				imported(t, direct, inventory.Import{}, lines(3*chunk, 5))

				file := strings.NewReader(lines(3*chunk, 1))
				report, err := inventory.New(through(t, dsn, proxy.Deliver(), lost.fate)).Import(t.Context(), file, inventory.Import{Add: true})
				where := fmt.Sprintf("it is not known whether lines %d to %d were added; what follows was not", chunk+2, 2*chunk+1)
				if !errors.Is(err, database.ErrOutcomeUnknown) || !strings.Contains(err.Error(), where) {
					t.Errorf("got %v, want %q", err, where)
				}
				if diff := cmp.Diff(inventory.ImportReport{Line: chunk + 1, Rows: chunk, Changed: chunk, Net: chunk}, report); diff != "" {
					t.Errorf("report (-want +got):\n%s", diff)
				}
				for i, p := range listed(t, direct) {
					want := int64(5)
					if i < lost.taken {
						want = 6
					}
					if p.OnHand != want {
						t.Fatalf("%s: on hand is %d, want %d", p.ID, p.OnHand, want)
					}
				}
			})
		}
	})
}

func TestImport_settingContinuesAfterALostCommit(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		direct := databasetest.Open(t, database.Config{MySQLDSN: dsn})
		report := imported(t, through(t, dsn, proxy.Deliver(), proxy.CutAfter()), inventory.Import{}, lines(3*chunk, 7))
		// The second chunk was set twice; the second time it changed nothing.
		if diff := cmp.Diff(inventory.ImportReport{Line: 3*chunk + 1, Rows: 3 * chunk, Created: 2 * chunk, Unchanged: chunk, Net: 2 * chunk * 7, NetUncertain: true}, report.ImportReport); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
		for _, p := range listed(t, direct) {
			if p.OnHand != 7 {
				t.Fatalf("%s: on hand is %d, want 7", p.ID, p.OnHand)
			}
		}
	})
}

package inventory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

const header = inventory.ImportHeader + "\n"

// An outcome is what became of an import.
type outcome struct {
	inventory.ImportReport
	BadRows []inventory.BadRow
}

// imported imports a file that must be read to its end.
func imported(t *testing.T, db *database.DB, how inventory.Import, file string) (o outcome) {
	t.Helper()
	how.Bad = func(bad inventory.BadRow) error {
		o.BadRows = append(o.BadRows, bad)
		return nil
	}
	var err error
	if o.ImportReport, err = inventory.New(db).Import(t.Context(), strings.NewReader(file), how); err != nil {
		t.Fatalf("import: %v", err)
	}
	return o
}

// applied is how many rows the import applied.
func (o outcome) applied() int { return o.Created + o.Changed + o.Unchanged }

// reasons returns the bad rows by line.
func (o outcome) reasons() map[int]string {
	said := map[int]string{}
	for _, bad := range o.BadRows {
		said[bad.Line] = bad.Reason
	}
	return said
}

func TestImport_judgesEachRowOnTheStock(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		add    bool
		rows   string
		levels map[string]int64 // on hand afterwards
		bad    map[int]string
		net    int64
	}{
		{
			name: "set", rows: "mug,Mug,20\nnull,,4\nnew,New,7\nnothing,,0\n",
			levels: map[string]int64{"mug": 20, "null": 4, "new": 7, "nothing": 0}, net: 10 + 4 + 7,
		},
		{
			name: "set to what is reserved", rows: "mug,,3\n", levels: map[string]int64{"mug": 3}, net: -7,
		},
		{
			name: "set below what is reserved", rows: "mug,,2\nnull,,-1\n", levels: map[string]int64{"mug": 10},
			bad: map[int]string{
				2: "would bring on hand to 2, below the 3 reserved by checkouts in flight",
				3: "would bring on hand to -1, below 0",
			},
		},
		{
			name: "set the most", rows: "mug,,2147483647\nnew,,2147483648\nother,,-2147483648\n",
			levels: map[string]int64{"mug": 2147483647}, net: 2147483637,
			bad: map[int]string{
				3: `quantity: want an integer up to 2147483647, got "2147483648"`,
				4: `quantity: want an integer up to 2147483647, got "-2147483648"`,
			},
		},
		{
			name: "set a product that is reserved and was deleted", rows: "deleted,,1\n",
			bad: map[int]string{2: "would bring on hand to 1, below the 2 reserved by checkouts in flight"},
		},
		{
			name: "set twice", rows: "mug,,20\nmug,,15\nnew,,x\nnew,,1\n", levels: map[string]int64{"mug": 20, "new": 1}, net: 11,
			bad: map[int]string{3: "the product is on line 2 already", 4: `quantity: want an integer, got "x"`},
		},
		{
			name: "add", add: true, rows: "mug,,+5\nnull,,4\nnew,,7\nMug,,0\n",
			levels: map[string]int64{"mug": 15, "null": 4, "new": 7, "Mug": 0}, net: 16,
		},
		{
			name: "add less than nothing", add: true, rows: "mug,,-7\nnull,,-1\nnew,,-1\n",
			levels: map[string]int64{"mug": 3, "null": 0}, net: -7,
			bad: map[int]string{
				3: "would bring on hand to -1, below 0",
				4: "would bring on hand to -1, below 0",
			},
		},
		{
			name: "add below what is reserved", add: true, rows: "mug,,-8\n", levels: map[string]int64{"mug": 10},
			bad: map[int]string{2: "would bring on hand to 2, below the 3 reserved by checkouts in flight"},
		},
		{
			name: "add too much", add: true, rows: "mug,,2147483647\nnew,,2147483647\n", levels: map[string]int64{"new": 2147483647}, net: 2147483647,
			bad: map[int]string{2: "would bring on hand to 2147483657, above 2147483647"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			databasetest.Each(t, func(t *testing.T, db *database.DB) {
				put(t, db, "mug", 10)
				put(t, db, "null", nil)
				hold(t, db, "c", "mug", 3)
				hold(t, db, "d", "deleted", 2)
				dried := imported(t, db, inventory.Import{Add: test.add, DryRun: true}, header+test.rows)
				wantLevel(t, db, "mug", inventory.Level{OnHand: 10, Reserved: 3})
				report := imported(t, db, inventory.Import{Add: test.add}, header+test.rows)
				if diff := cmp.Diff(report, dried); diff != "" {
					t.Errorf("the dry run says otherwise (-real +dry):\n%s", diff)
				}
				rows := strings.Count(test.rows, "\n")
				want := inventory.ImportReport{Line: rows + 1, Rows: rows, Bad: len(test.bad), Net: test.net}
				if report.applied() != rows-len(test.bad) {
					t.Errorf("%d of %d rows are applied, %d are bad", report.applied(), rows, len(test.bad))
				}
				if diff := cmp.Diff(want, report.ImportReport, cmpopts.IgnoreFields(want, "Created", "Changed", "Unchanged")); diff != "" {
					t.Errorf("report (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.bad, report.reasons(), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("bad rows (-want +got):\n%s", diff)
				}
				for id, onHand := range test.levels {
					if got := levelsOf(t, db, id)[id].OnHand; got != onHand {
						t.Errorf("on hand of %s: got %d, want %d", id, got, onHand)
					}
				}
			})
		})
	}
}

func TestImport_namesProducts(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for _, add := range []bool{false, true} {
			imported(t, db, inventory.Import{Add: add}, header+"mug,Mug,5\nless,Less,5\nplain,,1\n")
			imported(t, db, inventory.Import{Add: add}, header+"mug,,5\nless,\"Fewer, \"\"much\"\"\",-0\nnew,Neu ☕,1\n")
			want := map[string]string{"mug": "Mug", "less": `Fewer, "much"`, "plain": "", "new": "Neu ☕"}
			got := map[string]string{}
			for _, p := range listed(t, db) {
				got[p.ID] = p.Name
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("add %v: names (-want +got):\n%s", add, diff)
			}
			execute(t, db, "DELETE FROM product_details")
		}
	})
}

func TestImport_rejectsASecondRowOfAProduct(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	var file strings.Builder
	file.WriteString(lines(chunk+1, 1)) // the repeats are in another transaction
	file.WriteString("p0000,,5\np0500,,5\np0500,,6\n")
	report := imported(t, db, inventory.Import{Add: true}, file.String())
	want := map[int]string{
		chunk + 3: "the product is on line 2 already", chunk + 4: "the product is on line 502 already", chunk + 5: "the product is on line 502 already",
	}
	if diff := cmp.Diff(want, report.reasons()); diff != "" || report.Net != chunk+1 {
		t.Errorf("net %d, bad rows (-want +got):\n%s", report.Net, diff)
	}
}

func TestImport_countsCreatedChangedAndUnchanged(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		imported(t, db, inventory.Import{}, header+"mug,Mug,5\ntea,Tea,1\njug,Jug,1\npot,Pot,1\n")
		for _, dry := range []bool{true, false} {
			report := imported(t, db, inventory.Import{DryRun: dry}, header+"mug,Mug,5\ntea,,1\njug,Jug,2\npot,New pot,1\nnew,,3\n")
			if report.Created != 1 || report.Changed != 2 || report.Unchanged != 2 || report.Net != 4 {
				t.Errorf("dry %v: got %+v", dry, report)
			}
		}
	})
}

func TestImport_warnsOfLookAlikes(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		imported(t, db, inventory.Import{}, header+"tea,,1\npo\u00adt,,1\ncafe\u0301,,1\nplain,,1\n")
		for _, dry := range []bool{true, false} {
			var got []string
			report := imported(t, db, inventory.Import{DryRun: dry, Warn: func(w inventory.LookAlike) {
				got = append(got, fmt.Sprint(w.Line, " ", w.Other))
			}}, header+"tea\u200b,,1\npot,,1\ncafé,,1\nother,,1\noth\ufeffer,,1\nplain,,2\nTea,,1\n")
			want := []string{"6 that of line 5", `3 "po\u00adt"`, `4 "cafe\u0301"`, `2 "tea"`}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" || report.Created != 6 {
				t.Errorf("dry %v: created %d, warnings (-want +got):\n%s", dry, report.Created, diff)
			}
		}
	})
}

const chunk = inventory.ImportChunk // rows of one transaction

// lines makes a file of n rows, each of a product of its own.
func lines(n int, quantity int64) string {
	var file strings.Builder
	file.WriteString(header)
	for i := range n {
		fmt.Fprintf(&file, "p%04d,,%d\n", i, quantity)
	}
	return file.String()
}

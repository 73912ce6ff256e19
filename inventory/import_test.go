package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"
)

const header = inventory.ImportHeader + "\n"

// imported imports a file that must be read to its end.
func imported(t *testing.T, db *database.DB, how inventory.Import, file string) inventory.ImportReport {
	t.Helper()
	report, err := inventory.New(db).Import(t.Context(), strings.NewReader(file), how)
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	return report
}

// applied is how many rows an import applied.
func applied(r inventory.ImportReport) int { return r.Created + r.Changed + r.Unchanged }

// reasons returns a report's bad rows by line.
func reasons(report inventory.ImportReport) map[int]string {
	said := map[int]string{}
	for _, bad := range report.Listed {
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
				var called []inventory.BadRow
				how := inventory.Import{Add: test.add, Bad: func(bad inventory.BadRow) error {
					called = append(called, bad)
					return nil
				}}
				dry := how
				dry.DryRun = true
				dried := imported(t, db, dry, header+test.rows)
				wantLevel(t, db, "mug", inventory.Level{OnHand: 10, Reserved: 3})
				called = nil
				report := imported(t, db, how, header+test.rows)
				if diff := cmp.Diff(report, dried); diff != "" {
					t.Errorf("the dry run says otherwise (-real +dry):\n%s", diff)
				}
				rows := strings.Count(test.rows, "\n")
				want := inventory.ImportReport{Line: rows + 1, Rows: rows, Bad: len(test.bad), Net: test.net}
				if applied(report) != rows-len(test.bad) {
					t.Errorf("%d of %d rows are applied, %d are bad", applied(report), rows, len(test.bad))
				}
				if diff := cmp.Diff(want, report, cmpopts.IgnoreFields(report, "Listed", "Created", "Changed", "Unchanged")); diff != "" {
					t.Errorf("report (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.bad, reasons(report), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("bad rows (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(report.Listed, called); diff != "" {
					t.Errorf("Bad was called for others (-listed +called):\n%s", diff)
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
			for _, p := range listed(t, db, inventory.Filter{}) {
				got[p.ID] = p.Name
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("add %v: names (-want +got):\n%s", add, diff)
			}
			execute(t, db, "DELETE FROM product_details")
		}
	})
}

func TestImport_rejectsMalformedRows(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	long := strings.Repeat("ß", 100)
	tests := map[string]string{ // row: reason, empty when it is good
		"a,b":                     "want 3 fields, got 2",
		"a,b,1,":                  "want 3 fields, got 4",
		",name,1":                 "product_id: want 1 to 100 characters, got 0",
		long + "x,,1":             "product_id: want 1 to 100 characters, got 101",
		long + ",,1":              "",
		" a,,1":                   "product_id: want no white space at either end",
		"a\u00a0,,1":              "product_id: want no white space at either end",
		"a\tb,,1":                 "product_id: want no control characters",
		"a\xff,,1":                "product_id: invalid UTF-8",
		"a\ufffd,,1":              "", // the character itself may be there
		"a,\xc3,1":                "product_name: invalid UTF-8",
		"a," + long + "x,1":       "product_name: want at most 100 characters, got 101",
		"a," + long + ",1":        "",
		"a,b\x07c,1":              "product_name: want no control characters",
		"a,,":                     `quantity: want an integer, got ""`,
		"a,,1.0":                  `quantity: want an integer, got "1.0"`,
		"a,,1e3":                  `quantity: want an integer, got "1e3"`,
		"a,,0x10":                 `quantity: want an integer, got "0x10"`,
		"a,, 1":                   `quantity: want an integer, got " 1"`,
		"a,,99999999999999999999": `quantity: want an integer up to 2147483647, got "99999999999999999999"`,
		`"a"b,,1`:                 `not CSV: extraneous or missing " in quoted-field, at byte 3`,
		`a"b,,1`:                  `not CSV: bare " in non-quoted-field, at byte 2`,
		`"a",,"1"`:                "",
		"tea,\"A tea, also seen as\nmug,Mug,0\nin old lists\",7": "product_name: want no control characters",
	}
	for row, want := range tests {
		// A bad row is followed by a good one, which it must not spoil.
		report := imported(t, db, inventory.Import{}, header+row+"\nnext,,1\n")
		got := reasons(report)[2]
		if got != want || report.Rows != 2 || (report.Bad == 1) != (want != "") {
			t.Errorf("%.60q: got %q in %+v, want %q", row, got, report, want)
		}
	}
}

func TestImport_readsWhatSpreadsheetsWrite(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	file := "\uFEFFquantity,product_name,\"product_id\"\r\n\r\n5,Mug,mug\r\n\n7,Tea,tea"
	var columns string
	// One byte at a time, as a slow pipe gives it.
	report, err := inventory.New(db).Import(t.Context(), iotest.OneByteReader(strings.NewReader(file)),
		inventory.Import{Header: func(header string) { columns = header }})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(inventory.ImportReport{Line: 5, Rows: 2, Created: 2, Net: 12}, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if columns != "quantity,product_name,product_id" {
		t.Errorf("header: got %q", columns)
	}
	wantLevel(t, db, "tea", inventory.Level{OnHand: 7})
}

func TestImport_refusesAFileWithoutItsHeader(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	for _, first := range []string{
		"", "\n", "mug,Mug,5", "product_id,product_name", "product_id,product_name,quantity,price",
		"product_id,product_id,quantity", "product_id,product_name,Quantity", "product_id;product_name;quantity",
		`product_id,product_name,"quantity`,
	} {
		report, err := inventory.New(db).Import(t.Context(), strings.NewReader(first+"\nmug,Mug,5\n"), inventory.Import{})
		if err == nil || !strings.Contains(err.Error(), "want the header "+inventory.ImportHeader) {
			t.Errorf("header %q: got %v", first, err)
		}
		if diff := cmp.Diff(inventory.ImportReport{}, report); diff != "" {
			t.Errorf("header %q: a report all the same (-want +got):\n%s", first, diff)
		}
	}
	if products := listed(t, db, inventory.Filter{}); len(products) != 0 {
		t.Errorf("something was imported: %v", products)
	}
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
	if diff := cmp.Diff(want, reasons(report)); diff != "" || report.Net != chunk+1 {
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

func TestImport_unclosedQuoteEndsIt(t *testing.T) {
	t.Parallel()
	for _, rest := range []string{"mug,,0\n", strings.Repeat("mug,,0\n", 10_000)} {
		db := databasetest.Embedded(t)
		report := imported(t, db, inventory.Import{}, header+"\nmug,,5\n\ntea,\"Tea,7\n"+rest)
		want := map[int]string{5: "a quote is not closed: the import ends here, and what follows was not read"}
		if diff := cmp.Diff(want, reasons(report)); diff != "" || report.Created != 1 || report.Rows != 2 {
			t.Errorf("%+v, bad rows (-want +got):\n%s", report, diff)
		}
		wantLevel(t, db, "mug", inventory.Level{OnHand: 5})
	}
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

func TestImport_readsOtherDelimiters(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	file := "product_id;product_name;quantity\nmug;\"Mug; large\";5\njug;Jug, small;x\n"
	report := imported(t, db, inventory.Import{Delimiter: ';'}, file)
	if report.Created != 1 || report.Listed[0].Text != "jug;Jug, small;x" {
		t.Errorf("got %+v", report)
	}
	for delimiter, file := range map[rune]string{',': file, ';': strings.ReplaceAll(file, ";", "\t")} {
		_, err := inventory.New(db).Import(t.Context(), strings.NewReader(file), inventory.Import{Delimiter: delimiter})
		if err == nil || !strings.Contains(err.Error(), "use --delimiter") {
			t.Errorf("got %v, want a hint", err)
		}
	}
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

func TestImport_stopsBetweenChunks(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		report, err := inventory.New(db).Import(ctx, strings.NewReader(lines(4*chunk, 1)), inventory.Import{
			Add: true,
			Progress: func(so inventory.ImportReport) {
				if so.Rows >= 2*chunk {
					cancel()
				}
			},
		})
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), fmt.Sprint("after line ", 2*chunk+1)) {
			t.Errorf("got %v, want it stopped after line %d", err, 2*chunk+1)
		}
		if diff := cmp.Diff(inventory.ImportReport{Line: 2*chunk + 1, Rows: 2 * chunk, Created: 2 * chunk, Net: 2 * chunk}, report); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
		if got := len(listed(t, db, inventory.Filter{})); got != 2*chunk {
			t.Errorf("%d products are there, want the %d that are reported", got, 2*chunk)
		}
	})
}

func TestImport_stopsWhereReadingOrReportingFails(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	broken := errors.New("broken")
	file := io.MultiReader(strings.NewReader(lines(chunk+50, 1)+"p9999,,1"), iotest.ErrReader(broken))
	report, err := inventory.New(db).Import(t.Context(), file, inventory.Import{})
	if !errors.Is(err, broken) || report.Line != chunk+1 || report.Created != chunk {
		t.Errorf("a file that breaks off: got %v, %+v", err, report)
	}
	// A row that was cut short may look like a good one.
	if _, there := levelsOf(t, db, "p9999")["p9999"]; there {
		t.Error("the row that was being read was taken")
	}
	report, err = inventory.New(db).Import(t.Context(), strings.NewReader(lines(3, 1)+"bad\nbad\n"), inventory.Import{
		Bad: func(inventory.BadRow) error { return broken },
	})
	if !errors.Is(err, broken) || report.Bad != 1 || report.Line != 5 {
		t.Errorf("a report that fails: got %v, %+v", err, report)
	}
}

func TestImport_leavesOutARowThatStaysLocked(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		put(t, db, "locked", 5)
		release := lockProduct(t, db, "locked")
		file := header + "a,,1\nlocked,,9\nb,,2\n"
		report, err := inventory.New(db).ImportWith(t.Context(), strings.NewReader(file), inventory.Import{}, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		const reason = "the product's row is locked by another session"
		if diff := cmp.Diff(map[int]string{3: reason}, reasons(report)); diff != "" {
			t.Errorf("bad rows (-want +got):\n%s", diff)
		}
		if applied(report) != 2 || report.Net != 3 {
			t.Errorf("got %+v, want the other rows taken", report)
		}
		release()
		wantLevel(t, db, "locked", inventory.Level{OnHand: 5})
	})
}

func TestImport_waitsForALockedRow(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		put(t, db, "locked", 5)
		release := lockProduct(t, db, "locked")
		go func() {
			eventually(t, "the other rows are taken", func() bool { return len(levelsOf(t, db, "a", "b")) == 2 })
			release()
		}()
		report := imported(t, db, inventory.Import{Add: true}, header+"a,,1\nlocked,,9\nb,,2\n")
		if applied(report) != 3 || report.Net != 12 {
			t.Errorf("got %+v, want all taken", report)
		}
		wantLevel(t, db, "locked", inventory.Level{OnHand: 14})
	})
}

// sell reserves and then commits or rolls back single units until stop is closed, and returns how
// many it sold.
func sell(t *testing.T, db *database.DB, stop <-chan struct{}, seller string, productIDs []string) (sold map[string]int64) {
	sold = map[string]int64{}
	m := inventory.New(db)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return sold
		default:
		}
		product, id := productIDs[i%len(productIDs)], name(seller, i)
		switch err := reserveOne(t, db, m, id, product); {
		case errors.Is(err, inventory.ErrNotEnough):
			continue
		case err != nil:
			t.Errorf("reserve while importing: %v", err)
			return sold
		}
		if i%3 != 0 {
			sold[product]++
		}
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			ended := []inventory.Reservation{reservation(id, product, 1)}
			if i%3 != 0 {
				return commit(t, tx, m, ended)
			}
			return databasetest.Send(t.Context(), tx, func(b *database.Batch) { m.Rollback(b, ended) })
		}, nil)
		if err != nil {
			t.Errorf("settle while importing: %v", err)
		}
	}
}

func TestImport_conservesUnitsWhileTheServerSells(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		testBooks := func(t *testing.T, server, other *database.DB) {
			var products []string
			for i := range 8 {
				products = append(products, name("p", i))
				put(t, server, products[i], 3)
			}
			stop := make(chan struct{})
			sales := make([]map[string]int64, 3)
			var sellers, watch sync.WaitGroup
			for i := range sales {
				sellers.Go(func() { sales[i] = sell(t, server, stop, name("seller", i, "-"), products) })
			}
			watch.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					for id, level := range levelsOf(t, server, products...) {
						if level.OnHand < level.Reserved {
							t.Errorf("%s: on hand is %d, reserved are %d", id, level.OnHand, level.Reserved)
							return
						}
					}
				}
			})
			var net int64
			bad := 0
			importer := inventory.New(other)
			for round := range 200 {
				var file strings.Builder
				file.WriteString(header)
				for row, product := range products {
					fmt.Fprintf(&file, "%s,,%d\n", product, (row+round)%5-1) // -1 to 3
				}
				report, err := importer.Import(t.Context(), strings.NewReader(file.String()), inventory.Import{Add: round%2 == 0})
				if err != nil {
					t.Errorf("import: %v", err)
					break
				}
				net += report.Net
				bad += report.Bad
			}
			close(stop)
			sellers.Wait()
			watch.Wait()
			onHand, sold := int64(0), int64(0)
			for id, level := range levelsOf(t, server, products...) {
				onHand += level.OnHand
				if level.Reserved != 0 {
					t.Errorf("%s: %d are still reserved", id, level.Reserved)
				}
			}
			for _, seller := range sales {
				for _, units := range seller {
					sold += units
				}
			}
			if initial := int64(3 * len(products)); initial+net != onHand+sold {
				t.Errorf("initial %d + imported %d = %d, on hand %d + sold %d = %d",
					initial, net, initial+net, onHand, sold, onHand+sold)
			}
			if sold == 0 || bad == 0 {
				t.Errorf("sold %d, %d bad rows: the two did not meet", sold, bad)
			}
		}
		t.Run("embedded", func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			testBooks(t, databasetest.Open(t, database.Config{DataDir: dir, Serve: true}),
				databasetest.Open(t, database.Config{DataDir: dir}))
		})
		t.Run("mysql", func(t *testing.T) {
			t.Parallel()
			first, second := twoInstances(t, flavour)
			testBooks(t, first, second)
		})
	})
}

func TestImport_twoThatCreateTheSameProductsBothCount(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		first, second := twoInstances(t, flavour)
		var wg sync.WaitGroup
		for _, db := range []*database.DB{first, second} {
			wg.Go(func() {
				report, err := inventory.New(db).Import(t.Context(), strings.NewReader(lines(600, 2)), inventory.Import{Add: true})
				if err != nil || report.Net != 1200 || report.Bad != 0 {
					t.Errorf("import: %v, %+v", err, report)
				}
			})
		}
		wg.Wait()
		for _, p := range listed(t, first, inventory.Filter{}) {
			if p.OnHand != 4 {
				t.Fatalf("%s: on hand is %d, want 4", p.ID, p.OnHand)
			}
		}
	})
}

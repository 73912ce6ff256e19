package inventory_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

func TestImport_rejectsMalformedRows(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	long := strings.Repeat("ß", 100)
	tests := map[string]string{ // row: reason, empty when it is good
		"a,b":                     "want 3 fields, got 2",
		"a,b,1,":                  "want 3 fields, got 4",
		",name,1":                 "product_id: want 1 to 100 Unicode characters, got 0",
		long + "x,,1":             "product_id: want 1 to 100 Unicode characters, got 101",
		long + ",,1":              "",
		" a,,1":                   "product_id: want no white space at either end",
		"a\u00a0,,1":              "product_id: want no white space at either end",
		"a\tb,,1":                 "product_id: want no control characters, got U+0009",
		"a\xff,,1":                "product_id: want UTF-8",
		"a\ufffd,,1":              "", // the character itself may be there
		"a,\xc3,1":                "product_name: want UTF-8",
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
		got := report.reasons()[2]
		if got != want || report.Rows != 2 || (report.Bad == 1) != (want != "") {
			t.Errorf("%.60q: got %q in %+v, want %q", row, got, report, want)
		}
	}
}

func TestImport_readsWhatSpreadsheetsWrite(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	file := "\uFEFFquantity,product_name,\"product_id\"\r\n\r\n5,Mug,mug\r\n\n7,Tea,tea"
	// One byte at a time, as a slow pipe gives it.
	report, err := inventory.New(db).Import(t.Context(), iotest.OneByteReader(strings.NewReader(file)), inventory.Import{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(inventory.ImportReport{Line: 5, Rows: 2, Created: 2, Net: 12}, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
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
	if products := listed(t, db); len(products) != 0 {
		t.Errorf("something was imported: %v", products)
	}
}

func TestImport_unclosedQuoteEndsIt(t *testing.T) {
	t.Parallel()
	for _, rest := range []string{"mug,,0\n", strings.Repeat("mug,,0\n", 10_000)} {
		db := databasetest.Embedded(t)
		report := imported(t, db, inventory.Import{}, header+"\nmug,,5\n\ntea,\"Tea,7\n"+rest)
		want := map[int]string{5: "a quote is not closed: the import ends here, and what follows was not read"}
		if diff := cmp.Diff(want, report.reasons()); diff != "" || report.Created != 1 || report.Rows != 2 {
			t.Errorf("%+v, bad rows (-want +got):\n%s", report, diff)
		}
		wantLevel(t, db, "mug", inventory.Level{OnHand: 5})
	}
}

func TestImport_readsOtherDelimiters(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	file := "product_id;product_name;quantity\nmug;\"Mug; large\";5\njug;Jug, small;x\n"
	report := imported(t, db, inventory.Import{Delimiter: ';'}, file)
	want := inventory.BadRow{
		Line: 3, Reason: `quantity: want an integer, got "x"`,
		Header: "product_id;product_name;quantity", Text: "jug;Jug, small;x",
	}
	if diff := cmp.Diff([]inventory.BadRow{want}, report.BadRows); diff != "" || report.Created != 1 {
		t.Errorf("created %d, bad rows (-want +got):\n%s", report.Created, diff)
	}
	for delimiter, file := range map[rune]string{',': file, ';': strings.ReplaceAll(file, ";", "\t")} {
		_, err := inventory.New(db).Import(t.Context(), strings.NewReader(file), inventory.Import{Delimiter: delimiter})
		if err == nil || !strings.Contains(err.Error(), "use --delimiter") {
			t.Errorf("got %v, want a hint", err)
		}
	}
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

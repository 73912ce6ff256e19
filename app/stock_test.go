package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/app/commands"
	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

// A terminal runs commands, as a person does.
type terminal struct {
	t    *testing.T
	args []string // that say where the data is
}

func newTerminal(t *testing.T) terminal {
	t.Helper()
	return terminal{t, []string{"--data-dir", filepath.Join(t.TempDir(), "data")}}
}

// onEach runs a test on a terminal beside the database that it works on, on either engine.
func onEach(t *testing.T, test func(t *testing.T, term terminal, db *database.DB)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		db := databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
		server, err := commands.Listen(t.Context(), db, databasetest.Log(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, terminal{t, []string{"--data-dir", dir}}, db)
	})
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		t.Parallel()
		test(t, terminal{t, []string{"--mysql-dsn", dsn}}, databasetest.Open(t, database.Config{MySQLDSN: dsn}))
	})
}

// run runs a command with the file as standard input.
func (c terminal) run(stdin string, command ...string) (status int, out, err string) {
	c.t.Helper()
	var outBuffer, errBuffer bytes.Buffer
	status = Main(append(command, c.args...), commands.Console{In: strings.NewReader(stdin), Out: &outBuffer, Err: &errBuffer})
	return status, outBuffer.String(), errBuffer.String()
}

// want runs a command that must succeed and say nothing else.
func (c terminal) want(want, stdin string, command ...string) {
	c.t.Helper()
	status, out, err := c.run(stdin, command...)
	if status != 0 || err != "" {
		c.t.Errorf("%v: status %d, %s", command, status, err)
	}
	if diff := cmp.Diff(want, timing.ReplaceAllString(out, "; N s, N rows a second")); diff != "" {
		c.t.Errorf("%v (-want +got):\n%s", command, diff)
	}
}

var timing = regexp.MustCompile(`( in [^;]+)?; [0-9.]+ s, [0-9,]+ rows? a second`)

func TestStockImport_thenListShowsIt(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, c terminal, db *database.DB) {
		c.want("PRODUCT  NAME  ON HAND  RESERVED  AVAILABLE\n", "", "stock", "list")
		c.want("[]\n", "", "stock", "list", "--json")
		c.want("3 rows: 3 created, 0 changed, 0 unchanged, 0 bad; on hand changed by +1,252 units; N s, N rows a second\n",
			"product_id,product_name,quantity\nmug,\"Mug, large\",1200\ntea,Tea,50\nold,Old,2\n", "stock", "import", "-")
		c.want("1 row: 0 would be created, 1 would be changed, 0 unchanged, 0 bad; on hand would be changed by -2 units; N s, N rows a second\n",
			"quantity,product_id,product_name\n-2,old,\n", "stock", "import", "-", "--add", "--dry-run")
		c.want("1 row: 0 created, 1 changed, 0 unchanged, 0 bad; on hand changed by -1 unit; N s, N rows a second\n",
			"quantity,product_id,product_name\n-1,old,\n", "stock", "import", "-", "--add")
		hold := inventory.Reservation{CheckoutID: "c", Lines: []inventory.Line{{ProductID: "tea", Quantity: 45}}}
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			return databasetest.Send(t.Context(), tx, func(b *database.Batch) { inventory.New(db).Reserve(b, []inventory.Reservation{hold}) })
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.want("PRODUCT  NAME        ON HAND  RESERVED  AVAILABLE\n"+
			"mug      Mug, large     1200         0       1200\n"+
			"old      Old               1         0          1\n"+
			"tea      Tea              50        45          5\n", "", "stock", "list")
		c.want("[\n"+
			`{"productID":"mug","name":"Mug, large","onHand":1200,"reserved":0,"available":1200}`+",\n"+
			`{"productID":"old","name":"Old","onHand":1,"reserved":0,"available":1}`+",\n"+
			`{"productID":"tea","name":"Tea","onHand":50,"reserved":45,"available":5}`+"\n]\n", "", "stock", "list", "--json")
	})
}

func TestStockImport_reportsAndRejectsBadRows(t *testing.T) {
	t.Parallel()
	c := newTerminal(t)
	dir := t.TempDir()
	file, rejects := filepath.Join(dir, "stock.csv"), filepath.Join(dir, "rejects.csv")
	text := "quantity,product_id,product_name\r\n5,mug,Mug\r\nfive,tea,\"Tea, green\"\r\n\r\n-1,old,\r\n7,\x1b[2J,\r\n6,jug,Jug"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, said := c.run("", "stock", "import", file, "--rejects", rejects)
	if status != 1 || !strings.HasPrefix(out, "5 rows: 2 created, 0 changed, 0 unchanged, 3 bad; on hand changed by +11 units") {
		t.Errorf("status %d, %s", status, out)
	}
	if diff := cmp.Diff("line 3: quantity: want an integer, got \"five\"\n"+
		"line 5: would bring on hand to -1, below 0\n"+
		"line 6: product_id: want no control characters, got U+001B\n", said); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	rejected, err := os.ReadFile(rejects)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("quantity,product_id,product_name,reason\n"+
		"five,tea,\"Tea, green\",\"quantity: want an integer, got \"\"five\"\"\"\n"+
		"-1,old,,\"would bring on hand to -1, below 0\"\n"+
		"7,\x1b[2J,,\"product_id: want no control characters, got U+001B\"\n", string(rejected)); diff != "" {
		t.Errorf("rejects (-want +got):\n%s", diff)
	}

	// Imported as they are, they are rejected again, for the same reasons and each with one.
	again := filepath.Join(dir, "again.csv")
	if status, _, said := c.run("", "stock", "import", rejects, "--rejects", again); status != 1 || !strings.HasPrefix(said, "line 2: quantity") {
		t.Errorf("status %d, %s", status, said)
	}
	if rejectedAgain, err := os.ReadFile(again); err != nil || string(rejectedAgain) != string(rejected) {
		t.Errorf("rejected again (-first +second): %s, error %v", cmp.Diff(string(rejected), string(rejectedAgain)), err)
	}

	// Mended, they are a file to import, with the reasons or without.
	mended := strings.NewReplacer("five", "5", "-1", "1", "\x1b[2J", "pot").Replace(string(rejected))
	c.want("3 rows: 3 created, 0 changed, 0 unchanged, 0 bad; on hand changed by +13 units; N s, N rows a second\n", mended, "stock", "import", "-")

	// Without bad rows there is no reject file.
	other := filepath.Join(dir, "other.csv")
	if status, _, said := c.run("product_id,product_name,quantity\nmug,,5\n", "stock", "import", "-", "--rejects", other); status != 0 {
		t.Errorf("status %d, %s", status, said)
	}
	if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a reject file without rejects: %v", err)
	}
}

func TestStockImport_startErrorNamesTheCause(t *testing.T) {
	t.Parallel()
	c := newTerminal(t)
	missing := filepath.Join(t.TempDir(), "missing.csv")
	for _, test := range []struct{ file, want string }{{missing, "no such file"}, {"-", "want the header product_id,product_name,quantity"}} {
		if status, _, said := c.run("mug;Mug;5\n", "stock", "import", test.file); status != 1 || !strings.Contains(said, test.want) {
			t.Errorf("%s: status %d, %s", test.file, status, said)
		}
	}
}

// An endingReader ends a context when little is left to read.
type endingReader struct {
	*strings.Reader
	end context.CancelFunc
}

func (r endingReader) Read(p []byte) (int, error) {
	if r.Len() < 20_000 {
		r.end()
	}
	return r.Reader.Read(p)
}

func TestStockImport_interruptedNamesItsLastLine(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var rows strings.Builder
	rows.WriteString("product_id,product_name,quantity\n")
	for i := range 10_000 {
		fmt.Fprintf(&rows, "mug-%d,,1\n", i)
	}
	file := rows.String()
	var out, said bytes.Buffer
	command := commands.StockImport{Storage: commands.Storage{DataDir: t.TempDir()}, File: "-", Add: true}
	err := command.Run(ctx, commands.Console{In: endingReader{strings.NewReader(file), cancel}, Out: &out, Err: &said})
	if err == nil || !regexp.MustCompile(`^interrupted: the lines up to \d+ are done, the others are not`).MatchString(err.Error()) {
		t.Errorf("got %v", err)
	}
	if !regexp.MustCompile(`^[0-9],\d00 rows: `).MatchString(out.String()) {
		t.Errorf("summary: %s", out.String())
	}
}

func TestCartShow_listsLines(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, c terminal, db *database.DB) {
		c.want("The cart of ann is empty.\n", "", "cart", "show", "ann")
		c.want(`{"clientID":"ann","lines":[]}`+"\n", "", "cart", "show", "ann", "--json")
		c.want("1 row: 1 created, 0 changed, 0 unchanged, 0 bad; on hand changed by +5 units; N s, N rows a second\n",
			"product_id,product_name,quantity\nmug,,5\n", "stock", "import", "-")
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			return databasetest.Send(t.Context(), tx, func(b *database.Batch) {
				new(cart.Store).Restore(b, []cart.ClientLine{
					{ClientID: "ann", Line: inventory.Line{ProductID: "mug", Quantity: 3}},
					{ClientID: "ann", Line: inventory.Line{ProductID: "gone", Quantity: 2}},
					{ClientID: "bob", Line: inventory.Line{ProductID: "mug", Quantity: 9}},
				})
			})
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.want("PRODUCT  QUANTITY  AVAILABLE\ngone            2          0\nmug             3          5\n", "", "cart", "show", "ann")
		c.want(`{"clientID":"ann","lines":[{"productID":"gone","quantity":2,"available":0},{"productID":"mug","quantity":3,"available":5}]}`+"\n",
			"", "cart", "show", "ann", "--json")
	})
}

func TestMigrate_listsAndApplies(t *testing.T) {
	t.Parallel()
	c := newTerminal(t)
	pending := func() (n int) {
		status, out, said := c.run("", "migrate", "status", "--json")
		var lines []struct{ AppliedAt *string }
		if err := json.Unmarshal([]byte(out), &lines); status != 0 || err != nil || len(lines) == 0 {
			t.Fatalf("status %d, %v: %s%s", status, err, out, said)
		}
		for _, line := range lines {
			if line.AppliedAt == nil {
				n++
			}
		}
		return n
	}
	// What only looks creates nothing.
	for _, command := range [][]string{{"migrate", "status"}, {"stock", "list"}, {"cart", "show", "ann"}, {"checkouts", "list"}, {"audit"}} {
		if status, _, said := c.run("", command...); status != 1 || !strings.Contains(said, "there is no data yet") {
			t.Errorf("%v: status %d: %s, want a word that there is no data yet", command, status, said)
		}
	}
	for _, want := range []string{"4 applied, up to date\n", "0 applied, up to date\n"} {
		if status, out, said := c.run("", "migrate", "up"); status != 0 || !strings.HasSuffix(out, want) {
			t.Errorf("status %d: %s%s, want %s", status, out, said, want)
		}
	}
	if n := pending(); n != 0 {
		t.Errorf("%d are pending after up", n)
	}
}

func TestStockImport_rejectsIsNotTheInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := terminal{t, []string{"--data-dir", filepath.Join(dir, "data")}}
	file := filepath.Join(dir, "stock.csv")
	const content = "product_id,product_name,quantity\nmug,Mug,x\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, said := c.run("", "stock", "import", file, "--rejects", dir+"/./stock.csv"); status != 1 || !strings.Contains(said, "choose another") {
		t.Errorf("status %d: %s", status, said)
	}
	if left, err := os.ReadFile(file); err != nil || string(left) != content {
		t.Errorf("the file is %q now, error %v", left, err)
	}
	// One that cannot be written shows before anything is imported.
	if status, out, said := c.run("", "stock", "import", file, "--rejects", filepath.Join(dir, "no", "folder.csv")); status != 1 || out != "" || !strings.Contains(said, "--rejects") {
		t.Errorf("status %d: %s%s", status, out, said)
	}
	// Nor is anything made for a file that is not there.
	if status, out, said := c.run("", "stock", "import", filepath.Join(dir, "none.csv")); status != 1 || out != "" || !strings.Contains(said, "none.csv") {
		t.Errorf("status %d: %s%s", status, out, said)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a data directory: %v", err)
	}
}

func TestStockImport_rejectsIsNeverTheFileOnStandardInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "stock.csv"), filepath.Join(dir, "link.csv")
	const content = "product_id,product_name,quantity\nmug,Mug,x\n"
	if err := errors.Join(os.WriteFile(file, []byte(content), 0o600), os.Link(file, link)); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // it was only read
	var out, said bytes.Buffer
	args := []string{"stock", "import", "-", "--rejects", link, "--data-dir", filepath.Join(dir, "data")}
	status := Main(args, Console{In: in, Out: &out, Err: &said})
	if left, err := os.ReadFile(file); status != 1 || !strings.Contains(said.String(), "choose another") || string(left) != content {
		t.Errorf("status %d: %s; the file is %q now, error %v", status, &said, left, err)
	}
}

func TestStockImport_cleanRunRemovesOldRejects(t *testing.T) {
	t.Parallel()
	c := newTerminal(t)
	rejects := filepath.Join(t.TempDir(), "rejects.csv")
	for _, test := range []struct {
		quantity string
		status   int
	}{{"x", 1}, {"5", 0}} {
		if status, _, said := c.run("product_id,product_name,quantity\nmug,,"+test.quantity+"\n", "stock", "import", "-", "--rejects", rejects); status != test.status {
			t.Errorf("status %d: %s", status, said)
		}
		if _, err := os.Stat(rejects); (err == nil) != (test.status == 1) {
			t.Errorf("after status %d: %v", test.status, err)
		}
	}
}

func TestStockImport_dryRunCreatesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	c := terminal{t, []string{"--data-dir", dir}}
	if status, _, said := c.run("product_id,product_name,quantity\nmug,,5\n", "stock", "import", "-", "--dry-run"); status != 1 || !strings.Contains(said, "there is no data yet") {
		t.Errorf("status %d: %s", status, said)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a data directory: %v", err)
	}
}

package commands

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"cartwheel/database"
	"cartwheel/inventory"
)

// Stock is the command group stock.
type Stock struct {
	Import StockImport      `cmd:"" help:"Set or add to what is on hand, from a CSV file, also while the server sells."`
	List   stockListCommand `cmd:"" help:"List products and their stock."`
}

// StockImport is stock import.
type StockImport struct {
	Storage
	File      string `arg:"" placeholder:"FILE" help:"CSV file with the header product_id,product_name,quantity; - is standard input."`
	Add       bool   `help:"Add the quantities, which may be negative, to what is on hand, instead of setting it."`
	DryRun    bool   `help:"Check every row against the stock as it is now, and write nothing."`
	Rejects   string `placeholder:"FILE" help:"Write the bad rows to this file, each with its reason, to be corrected and imported again; without bad rows an old one is removed."`
	Delimiter string `default:"," placeholder:"CHAR" help:"The character between fields: a comma, a semicolon, or tab."`
}

// Help is what --help says beside the flags.
func (StockImport) Help() string {
	return `Products that do not exist are created; an empty name leaves a product's name as it is. Bad rows are reported by
line; the exit status is 1 if there were any. A second row of one product is a bad row, and so is one that would
bring on hand below reserved. A quote that is not closed ends the import there. Without --add a repeat is harmless.`
}

// delimiters are the names of what may separate fields.
var delimiters = map[string]rune{",": ',', ";": ';', "\t": '\t', `\t`: '\t', "tab": '\t', "|": '|'}

// Validate says which flags make no sense. kong calls it.
func (c StockImport) Validate() error {
	if _, known := delimiters[c.Delimiter]; !known && c.Delimiter != "" {
		return fmt.Errorf("--delimiter is %q: expected , or ; or | or tab", c.Delimiter)
	}
	return nil
}

// Run imports.
func (c StockImport) Run(ctx context.Context, console Console) (err error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	// Before the data: a file that is not there must leave no database behind.
	file, size, err := c.open(console)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := (&rejectFile{path: c.Rejects}).try(); err != nil {
		return fmt.Errorf("--rejects: %w", err)
	}
	use := c.writing
	if c.DryRun {
		use = c.reading
	}
	return use(ctx, console, func(db *database.DB) error { return c.run(ctx, console, db, file, size) })
}

func (c StockImport) run(ctx context.Context, console Console, db *database.DB, file io.Reader, size int64) (err error) {
	bar := newBar(console.Err, size)
	rejects := rejectFile{path: c.Rejects, delimiter: string(delimiters[c.Delimiter])}
	started := time.Now()
	var header string
	report, err := inventory.New(db).Import(ctx, bar.reader(file), inventory.Import{
		Add:       c.Add,
		DryRun:    c.DryRun,
		Delimiter: delimiters[c.Delimiter],
		Bad: func(bad inventory.BadRow) error {
			bar.aside(func() { fmt.Fprintf(console.Err, "line %d: %s\n", bad.Line, printable(bad.Reason)) })
			return rejects.add(header, bad)
		},
		Warn: func(w inventory.LookAlike) {
			bar.aside(func() {
				fmt.Fprintf(console.Err, "line %d: warning: the new product looks like another one, %s\n", w.Line, printable(w.Other))
			})
		},
		Header:   func(columns string) { header = columns },
		Progress: bar.show,
	})
	bar.finish()
	if err == nil && report.Bad == 0 {
		err = rejects.removeOld()
	}
	err = errors.Join(err, rejects.close())
	if err == nil || report.Rows > 0 {
		fmt.Fprintln(console.Out, c.summary(report, db.Engine(), time.Since(started)))
	}
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: the lines up to %d are done, the others are not: %w", report.Line, err)
	case err != nil:
		return err
	case report.Bad > 0:
		return ErrReported
	}
	return nil
}

// open opens the file, whose size is -1 when it is not known.
func (c StockImport) open(console Console) (io.ReadCloser, int64, error) {
	file := io.NopCloser(console.In)
	statable, isFile := console.In.(*os.File)
	if c.File != "-" {
		opened, err := os.Open(c.File)
		if err != nil {
			return nil, 0, err
		}
		file, statable, isFile = opened, opened, true
	}
	if !isFile {
		return file, -1, nil
	}
	info, err := statable.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	if rejects, err := os.Stat(c.Rejects); err == nil && os.SameFile(info, rejects) {
		return nil, 0, errors.Join(fmt.Errorf("--rejects is %s, the file that is to be imported: choose another", c.Rejects), file.Close())
	}
	if !info.Mode().IsRegular() { // a pipe says 0
		return file, -1, nil
	}
	return file, info.Size(), nil
}

func (c StockImport) summary(r inventory.ImportReport, engine string, took time.Duration) string {
	would := ""
	if c.DryRun {
		would = "would be "
	}
	atLeast := ""
	if r.NetUncertain {
		atLeast = " (or some more: the connection was lost during a commit)"
	}
	count := func(n int) string { return humanize.Comma(int64(n)) }
	return fmt.Sprintf("%s rows: %s %screated, %s %[3]schanged, %[5]s unchanged, %s bad; on hand %[3]schanged by %[7]s units%s in %s; %.1f s, %s rows a second",
		count(r.Rows), count(r.Created), would, count(r.Changed), count(r.Unchanged), count(r.Bad),
		signed(r.Net), atLeast, engine, took.Seconds(), count(int(float64(r.Rows)/max(took.Seconds(), 0.001))))
}

func signed(n int64) string {
	if n > 0 {
		return "+" + humanize.Comma(n)
	}
	return humanize.Comma(n)
}

// A rejectFile receives the bad rows as they stand in their file, and behind each the reason. The
// import reads such a file too, without the reasons. It is created with the first row.
type rejectFile struct {
	path      string // empty: none
	delimiter string
	file      *os.File
	out       *bufio.Writer
}

// try sees whether the file can be written, which shows before anything is imported then. It leaves
// no trace.
func (r *rejectFile) try() error {
	if r.path == "" {
		return nil
	}
	_, missing := os.Lstat(r.path)
	file, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil || missing == nil {
		return err
	}
	return os.Remove(r.path)
}

func (r *rejectFile) add(header string, bad inventory.BadRow) (err error) {
	if r.path == "" || bad.Text == "" { // the rest of a file behind an unclosed quote is no row
		return nil
	}
	line := bad.Text + r.delimiter + quoted(bad.Reason) + "\n"
	if r.file == nil {
		if r.file, err = os.Create(r.path); err != nil {
			return err
		}
		r.out = bufio.NewWriter(r.file)
		line = header + r.delimiter + inventory.ReasonColumn + "\n" + line
	}
	_, err = r.out.WriteString(line)
	return err
}

// quoted is text as a field of a CSV file.
func quoted(text string) string { return `"` + strings.ReplaceAll(printable(text), `"`, `""`) + `"` }

// removeOld removes the file of an earlier run.
func (r *rejectFile) removeOld() error {
	if info, err := os.Lstat(r.path); err != nil || !info.Mode().IsRegular() {
		return nil //nolint:nilerr // there is none
	}
	return os.Remove(r.path)
}

func (r *rejectFile) close() error {
	if r.file == nil {
		return nil
	}
	return errors.Join(r.out.Flush(), r.file.Close())
}

// A bar shows an import's progress, on a terminal alone.
type bar struct {
	progress *progressbar.ProgressBar
	began    time.Time
}

// newBar begins a bar of so many bytes; -1: not known.
func newBar(w io.Writer, size int64) bar {
	if !IsTerminal(w) {
		return bar{}
	}
	return bar{began: time.Now(), progress: progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetDescription("importing"),
	)}
}

// reader counts what is read of the file.
func (b bar) reader(file io.Reader) io.Reader {
	if b.progress == nil {
		return file
	}
	counted := progressbar.NewReader(file, b.progress)
	return &counted
}

func (b bar) show(r inventory.ImportReport) {
	if b.progress != nil {
		perSecond := float64(r.Rows) / max(time.Since(b.began).Seconds(), 0.001)
		b.progress.Describe(fmt.Sprintf("%s rows, %s a second", humanize.Comma(int64(r.Rows)), humanize.Comma(int64(perSecond))))
	}
}

// aside prints something where the bar is.
func (b bar) aside(say func()) {
	if b.progress != nil {
		_ = b.progress.Clear() // only looks
	}
	say()
}

func (b bar) finish() {
	if b.progress != nil {
		_ = b.progress.Clear() // only looks
	}
}

type stockListCommand struct {
	Storage
	JSON   bool   `name:"json" help:"Print a JSON array, for programs."`
	Low    *int64 `placeholder:"UNITS" help:"Only products of which at most so many units are available."`
	Lowest int    `placeholder:"N" help:"Only the N products of which the fewest units are available, these first."`
	Search string `placeholder:"TEXT" help:"Only products with this in their ID or name; upper and lower case are the same."`
}

// A stockLine is a product as stock list --json prints it.
type stockLine struct {
	ProductID string `json:"productID"`
	Name      string `json:"name"`
	OnHand    int64  `json:"onHand"`
	Reserved  int64  `json:"reserved"`
	Available int64  `json:"available"`
}

// Run lists.
func (c stockListCommand) Run(ctx context.Context, console Console) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return c.reading(ctx, console, func(db *database.DB) error { return c.run(ctx, console.Out, db) })
}

func (c stockListCommand) run(ctx context.Context, w io.Writer, db *database.DB) error {
	var out listing = newTable(w, "PRODUCT", "NAME", "ON HAND", "RESERVED", "AVAILABLE")
	if c.JSON {
		out = newArray(w)
	}
	show := func(p inventory.Product) error {
		line := stockLine{p.ID, p.Name, p.OnHand, p.Reserved, p.Available()}
		return out.add(line, line.ProductID, line.Name, line.OnHand, line.Reserved, line.Available)
	}
	lowest := lowestAvailable{most: c.Lowest}
	pick := show
	if c.Lowest > 0 {
		pick = lowest.pick
	}
	if err := inventory.New(db).List(ctx, inventory.Filter{Low: c.Low, Search: c.Search}, pick); err != nil {
		return err
	}
	for _, p := range lowest.products {
		if err := show(p); err != nil {
			return err
		}
	}
	return out.end()
}

// maxLowest is how many products stock list sorts: what it may hold in memory.
const maxLowest = 10_000

// Validate says which flags make no sense. kong calls it.
func (c stockListCommand) Validate() error {
	if c.Lowest < 0 || c.Lowest > maxLowest {
		return fmt.Errorf("--lowest is %d: expected 1 to %d", c.Lowest, maxLowest)
	}
	return nil
}

// lowestAvailable keeps, of the products that it is shown, those with the fewest units available,
// in this order.
type lowestAvailable struct {
	most     int
	products []inventory.Product
}

func (l *lowestAvailable) pick(p inventory.Product) error {
	if len(l.products) == l.most {
		if p.Available() >= l.products[l.most-1].Available() {
			return nil
		}
		l.products = l.products[:l.most-1]
	}
	at, _ := slices.BinarySearchFunc(l.products, p.Available(), func(other inventory.Product, available int64) int {
		if other.Available() <= available { // behind its equals, whose IDs are smaller
			return -1
		}
		return 1
	})
	l.products = slices.Insert(l.products, at, p)
	return nil
}

// interruptible returns a context that ends with SIGINT or SIGTERM. A second one ends the process.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

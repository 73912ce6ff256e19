package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"cartwheel/database"
	"cartwheel/inventory"
)

type stockCommand struct {
	Import stockImportCommand `cmd:"" help:"Set or add to what is on hand, from a CSV file, also while the server sells."`
	List   stockListCommand   `cmd:"" help:"List products and their stock."`
}

type stockImportCommand struct {
	storage
	File    string `arg:"" placeholder:"FILE" help:"CSV file with the header product_id,product_name,quantity; - is standard input."`
	Add     bool   `help:"Add the quantities, which may be negative, to what is on hand, instead of setting it."`
	DryRun  bool   `help:"Check every row against the stock as it is now, and write nothing."`
	Rejects string `placeholder:"FILE" help:"Write the bad rows to this file, to be mended and imported again."`
}

// Help is what --help says beside the flags.
func (stockImportCommand) Help() string {
	return `Products that do not exist are created; an empty name leaves a product's name as it is. Good rows are taken and bad
rows reported by line; the exit status is 1 if there were any. A row that would bring on hand below what checkouts
in flight hold is a bad row. Without --add the same file can be imported again at will.`
}

// Run imports.
func (c stockImportCommand) Run(ctx context.Context, console Console) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return c.writing(ctx, console, func(db *database.DB) error { return c.run(ctx, console, db) })
}

func (c stockImportCommand) run(ctx context.Context, console Console, db *database.DB) (err error) {
	file, size, err := c.open(console)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()

	bar := newBar(console.Err, size)
	rejects := rejectFile{path: c.Rejects}
	started := time.Now()
	var header string
	report, err := inventory.New(db).Import(ctx, bar.reader(file), inventory.Import{
		Add:    c.Add,
		DryRun: c.DryRun,
		Bad: func(bad inventory.BadRow) error {
			bar.aside(func() { fmt.Fprintf(console.Err, "line %d: %s\n", bad.Line, printable(bad.Reason)) })
			return rejects.add(header, bad.Text)
		},
		Header:   func(columns string) { header = columns },
		Progress: bar.show,
	})
	bar.finish()
	err = errors.Join(err, rejects.close())
	fmt.Fprintln(console.Out, c.summary(report, time.Since(started)))
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: the lines up to %d are done, the others are not: %w", report.Line, err)
	case err != nil:
		return err
	case report.Bad > 0:
		return errReported
	}
	return nil
}

// open opens the file, whose size is -1 when it is not known.
func (c stockImportCommand) open(console Console) (io.ReadCloser, int64, error) {
	if c.File == "-" {
		return io.NopCloser(console.In), -1, nil
	}
	file, err := os.Open(c.File)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	if !info.Mode().IsRegular() { // a pipe says 0
		return file, -1, nil
	}
	return file, info.Size(), nil
}

func (c stockImportCommand) summary(r inventory.ImportReport, took time.Duration) string {
	taken := "taken"
	if c.DryRun {
		taken = "would be taken"
	}
	atLeast := ""
	if r.NetUncertain {
		atLeast = " (the database went away meanwhile: some units may be missing from this sum)"
	}
	seconds := max(took.Seconds(), 0.001)
	return fmt.Sprintf("%s rows: %s %s, %s bad; on hand changed by %s units%s; %.1f s, %s rows a second",
		humanize.Comma(int64(r.Rows)), humanize.Comma(int64(r.Taken)), taken, humanize.Comma(int64(r.Bad)),
		signed(r.Net), atLeast, took.Seconds(), humanize.Comma(int64(float64(r.Rows)/seconds)))
}

func signed(n int64) string {
	if n > 0 {
		return "+" + humanize.Comma(n)
	}
	return humanize.Comma(n)
}

// A rejectFile takes the lines that were not taken. It is created with the first.
type rejectFile struct {
	path string // empty: none
	file *os.File
	out  *bufio.Writer
}

func (r *rejectFile) add(header, line string) (err error) {
	if r.path == "" {
		return nil
	}
	if r.file == nil {
		if r.file, err = os.Create(r.path); err != nil {
			return err
		}
		r.out = bufio.NewWriter(r.file)
		line = header + "\n" + line
	}
	_, err = r.out.WriteString(line + "\n")
	return err
}

func (r *rejectFile) close() error {
	if r.file == nil {
		return nil
	}
	return errors.Join(r.out.Flush(), r.file.Close())
}

// A bar shows an import's progress, on a terminal alone.
type bar struct{ progress *progressbar.ProgressBar }

// newBar begins a bar of so many bytes; -1: not known.
func newBar(w io.Writer, size int64) bar {
	if !isTerminal(w) {
		return bar{}
	}
	return bar{progressbar.NewOptions64(size,
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
		b.progress.Describe(humanize.Comma(int64(r.Rows)) + " rows")
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
	storage
	JSON   bool   `name:"json" help:"Print a JSON array, for programs."`
	Low    *int64 `placeholder:"N" help:"Only products of which at most N units are available."`
	Search string `placeholder:"TEXT" help:"Only products with this in their ID or name; upper and lower case are the same."`
}

// A stockLine is a product as stock list --json prints it.
type stockLine struct {
	ProductID string `json:"productID"`
	Name      string `json:"name"`
	OnHand    int64  `json:"onHand"`
	Held      int64  `json:"held"`
	Available int64  `json:"available"`
}

// Run lists.
func (c stockListCommand) Run(ctx context.Context, console Console) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return c.reading(ctx, console, func(db *database.DB) error { return c.run(ctx, console.Out, db) })
}

func (c stockListCommand) run(ctx context.Context, w io.Writer, db *database.DB) error {
	var out listing = newTable(w, "PRODUCT", "NAME", "ON HAND", "HELD", "AVAILABLE")
	if c.JSON {
		out = newArray(w)
	}
	err := inventory.New(db).List(ctx, inventory.Filter{Low: c.Low, Search: c.Search}, func(p inventory.Product) error {
		line := stockLine{p.ID, p.Name, p.OnHand, p.Held, p.Available()}
		return out.add(line, line.ProductID, line.Name, line.OnHand, line.Held, line.Available)
	})
	if err != nil {
		return err
	}
	return out.end()
}

// interruptible returns a context that ends with SIGINT or SIGTERM. A second one ends the process.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

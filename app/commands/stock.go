package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/schollz/progressbar/v3"

	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/migrations"
)

// Stock is the command group stock.
type Stock struct {
	Import StockImport      `cmd:"" help:"Set or add to what is on hand, from a CSV file, also while the server sells."`
	List   stockListCommand `cmd:"" help:"List products and their stock."`
}

// StockImport is stock import.
type StockImport struct {
	Storage
	Output
	File      string `arg:"" placeholder:"FILE" help:"CSV file with the header product_id,product_name,quantity; - is standard input."`
	Add       bool   `help:"Add the quantities, which may be negative, to what is on hand, instead of setting it."`
	DryRun    bool   `help:"Check every row against the stock as it is now, and write nothing."`
	Rejects   string `placeholder:"FILE" help:"Write the bad rows to this file, each with its reason, to be corrected and imported again; without bad rows an old one is removed."`
	Delimiter string `default:"," placeholder:"CHAR" help:"The character between fields: a comma, a semicolon, or tab."`
}

// Help is the text of --help above the flags.
func (StockImport) Help() string {
	return `Products that do not exist are created; an empty name leaves a product's name as it is. Bad rows are reported by
line; the exit status is 1 if there were any. A second row of one product is a bad row, and so is one that would
bring on hand below reserved. A quote that is not closed ends the import there. Without --add a repeat is harmless.`
}

// delimiters are the values of --delimiter.
var delimiters = map[string]rune{",": ',', ";": ';', "\t": '\t', `\t`: '\t', "tab": '\t', "|": '|'}

// Validate refuses an unknown delimiter. kong calls it.
func (c StockImport) Validate() error {
	if _, known := delimiters[c.Delimiter]; !known {
		return fmt.Errorf("--delimiter is %q: expected , or ; or | or tab", c.Delimiter)
	}
	return nil
}

// Run imports.
func (c StockImport) Run(ctx context.Context, console Console) (err error) {
	// Before the data: a file that is not there must leave no database behind.
	file, closeFile, err := openInput(console, c.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	size, err := c.size(file)
	if err != nil {
		return err
	}
	rejects, err := openRejects(c.Rejects)
	if err != nil {
		return fmt.Errorf("--rejects: %w", err)
	}
	defer func() { err = errors.Join(err, rejects.close(err == nil)) }()
	bar := &importBar{ProgressBar: newBar(console.Err, size, "importing", progressbar.OptionShowBytes(true))}
	defer func() { _ = bar.Finish() }() // cosmetic
	console = Console{barReader{bar, file}, barWriter{bar, console.Out}, barWriter{bar, console.Err}, rejects}
	if c.DryRun {
		return c.reading(ctx, console, func(ctx context.Context, db *database.DB) error {
			return c.runOn(ctx, console, db)
		})
	}
	return c.writing(ctx, console, c, database.Config{})
}

func (c StockImport) runOn(ctx context.Context, console Console, db *database.DB) error {
	if !c.DryRun { // it may come before the first server
		level := slog.LevelWarn
		if !db.Embedded() {
			level = slog.LevelInfo // what becomes of an old system's rows is worth reading
		}
		if _, err := migrations.Up(ctx, db, commandLog(console, level)); err != nil {
			return fmt.Errorf("bring the tables up to date: %w", err)
		}
	}
	began := time.Now()
	rejects := rejectWriter{to: console.Rejects, delimiter: string(delimiters[c.Delimiter])}
	report, err := inventory.New(db).Import(ctx, console.In, inventory.Import{
		Add:       c.Add,
		DryRun:    c.DryRun,
		Delimiter: delimiters[c.Delimiter],
		Bad: func(bad inventory.BadRow) error {
			fmt.Fprintf(console.Err, "line %d: %s\n", bad.Line, printable(bad.Reason))
			return rejects.add(bad)
		},
		Warn: func(w inventory.LookAlike) {
			fmt.Fprintf(console.Err, "line %d: warning: the new product looks like another one, %s\n", w.Line, printable(w.Other))
		},
	})
	if err == nil || report.Rows > 0 {
		err = errors.Join(err, c.Print(console, report, c.summary(report, db.Engine(), time.Since(began))))
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

// size returns the size of the input, or -1 when it is not known. It refuses the file that would
// receive the bad rows.
func (c StockImport) size(input io.Reader) (int64, error) {
	file, isFile := input.(*os.File)
	if !isFile {
		return -1, nil
	}
	info, err := file.Stat()
	if err != nil {
		return -1, err
	}
	if rejects, err := os.Stat(c.Rejects); err == nil && os.SameFile(info, rejects) {
		return -1, fmt.Errorf("--rejects is %s, the file that is to be imported: choose another", c.Rejects)
	}
	if !info.Mode().IsRegular() { // a pipe says 0
		return -1, nil
	}
	return info.Size(), nil
}

// An importBar shows how much of the input was read, below what the import prints.
type importBar struct {
	mu sync.Mutex // the bar's Clear is not safe beside its Add
	*progressbar.ProgressBar
}

type barReader struct {
	bar *importBar
	io.Reader
}

func (r barReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.bar.mu.Lock()
	defer r.bar.mu.Unlock()
	_ = r.bar.Add(n) // cosmetic
	return n, err
}

type barWriter struct {
	bar *importBar
	io.Writer
}

func (w barWriter) Write(text []byte) (int, error) {
	w.bar.mu.Lock()
	defer w.bar.mu.Unlock()
	_ = w.bar.Clear() // cosmetic
	return w.Writer.Write(text)
}

func (c StockImport) summary(r inventory.ImportReport, engine string, took time.Duration) string {
	would, atLeast, net := "", "", humanize.Comma(r.Net)
	if c.DryRun {
		would = "would be "
	}
	if r.NetUncertain {
		atLeast = " (or some more: the connection was lost during a commit)"
	}
	if r.Net > 0 {
		net = "+" + net
	}
	units := english.PluralWord(int(max(r.Net, -r.Net)), "unit", "")
	return fmt.Sprintf("%s %s: %s %screated, %s %[4]schanged, %[6]s unchanged, %s bad;"+
		" on hand %[4]schanged by %[8]s %s%s in %s; %.1f s, %s a second", comma(r.Rows), english.PluralWord(r.Rows, "row", ""),
		comma(r.Created), would, comma(r.Changed), comma(r.Unchanged), comma(r.Bad),
		net, units, atLeast, engine, took.Seconds(), rate(r.Rows, took))
}

func comma(n int) string { return humanize.Comma(int64(n)) }

// rate returns how many rows, such as "7 rows", are read in a second.
func rate(rows int, took time.Duration) string {
	return english.Plural(int(float64(rows)/max(took.Seconds(), 0.001)), "row", "")
}

type stockListCommand struct {
	Storage
	Output
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
	return c.reading(ctx, console, func(ctx context.Context, db *database.DB) error {
		out := newListing(console.Out, c.JSON, "PRODUCT", "NAME", "ON HAND", "RESERVED", "AVAILABLE")
		return out.end(inventory.New(db).List(ctx, func(p inventory.Product) error {
			line := stockLine{p.ID, p.Name, p.OnHand, p.Reserved, p.Available()}
			return out.add(line, line.ProductID, line.Name, line.OnHand, line.Reserved, line.Available)
		}))
	})
}

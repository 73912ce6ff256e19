// Package commands owns the command line's commands except serve: each opens the data, does one
// thing and ends. app parses the command line and calls it.
package commands

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// Console is where a command reads and writes.
type Console struct {
	In       io.Reader
	Out, Err io.Writer
	Rejects  io.Writer // of stock import
}

// ErrReported is the failure of a command that has printed the reason itself.
var ErrReported = errors.New("reported")

// Output has the flag of the commands that print a result.
type Output struct {
	JSON bool `name:"json" help:"Print JSON, for programs."`
}

// Print prints a result: as JSON, or the text for people.
func (o Output) Print(console Console, result any, text string) error {
	if o.JSON {
		return json.NewEncoder(console.Out).Encode(result)
	}
	_, err := fmt.Fprintln(console.Out, text)
	return err
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// openInput opens a file, or standard input for "-", which is not closed.
func openInput(console Console, name string) (input io.Reader, closeInput func() error, err error) {
	if name == "-" {
		return console.In, func() error { return nil }, nil
	}
	file, err := os.Open(name)
	return file, file.Close, err
}

// newBar returns a progress bar that shows on a terminal alone. all is the expected total; -1: not
// known.
func newBar(w io.Writer, all int64, description string, options ...progressbar.Option) *progressbar.ProgressBar {
	return progressbar.NewOptions64(all, append(options,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetVisibility(IsTerminal(w)),
		progressbar.OptionSetDescription(description),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)...)
}

// printable is text as a terminal may be shown it: what others wrote into the tables may hold
// anything. Control and format characters are escaped, such as those that reverse a line's order.
func printable(text string) string {
	shown := make([]byte, 0, len(text))
	for _, r := range text {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			shown = fmt.Appendf(shown, `\u%04x`, r)
		} else {
			shown = utf8.AppendRune(shown, r)
		}
	}
	return string(shown)
}

// Package commands owns the command line's commands except serve: each opens the data, does one
// thing and ends. app parses the command line and calls it.
package commands

import (
	"errors"
	"io"
	"os"

	"github.com/mattn/go-isatty"
)

// Console is where a command reads and writes.
type Console struct {
	In       io.Reader
	Out, Err io.Writer
}

// ErrReported is the failure of a command that has printed the reason itself.
var ErrReported = errors.New("reported")

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

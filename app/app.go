// Package app is the API and the composition: it reads the command line, opens the engine and the gateway, starts
// the managers in the order in which they depend on each other, serves HTTP, and stops it all in reverse. main
// calls it.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"
)

// Console is where a command reads and writes.
type Console struct {
	In       io.Reader
	Out, Err io.Writer
}

// commandLine is what can be asked for.
type commandLine struct {
	Serve       serveCommand       `cmd:"" default:"withargs" help:"Run the server. This is what runs without a command."`
	Stock       stockCommand       `cmd:"" help:"Import and list products and their stock."`
	Cart        cartCommand        `cmd:"" help:"Look into a client's cart."`
	Checkouts   checkoutsCommand   `cmd:"" help:"List and show checkouts."`
	Audit       auditCommand       `cmd:"" help:"Check the books: stock, holds and open checkouts, all as of one moment."`
	Backup      backupCommand      `cmd:"" help:"Copy the embedded engine's data into a file, also while the server sells."`
	Migrate     migrateCommand     `cmd:"" help:"Bring the database's tables up to date, or tell how they are. The server does so by itself."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running server whether it is ready; exit status 0 if so."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

const description = `Cartwheel keeps a shop's carts, stock and checkouts: one program, two endpoints, three MySQL tables.

Without a command it serves. Flags beat the environment, which beats the defaults.`

// Main runs one command and returns its exit status: 0 for success, 1 for failure, 80 for a command line that
// makes no sense. It blocks until the command is done; serve ends on SIGINT and SIGTERM.
func Main(args []string, console Console) int {
	var line commandLine
	parser, err := kong.New(&line,
		kong.Name("cartwheel"),
		kong.Description(description),
		kong.ShortUsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Writers(console.Out, console.Err),
		kong.Bind(console),
		kong.BindTo(context.Background(), (*context.Context)(nil)),
		kong.ExplicitGroups(nil),
	)
	if err != nil {
		fmt.Fprintln(console.Err, "cartwheel:", err)
		return 1
	}
	command, err := parser.Parse(args)
	if err != nil {
		parser.FatalIfErrorf(err)
	}
	if err := command.Run(); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(console.Err, "cartwheel:", oneLine(err))
		}
		return 1
	}
	return 0
}

// errReported is the failure of a command that has said what is wrong itself.
var errReported = errors.New("reported")

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// isTerminal reports whether w is a terminal that a person looks at.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// Package app owns wiring, settings and lifecycle: it parses the command line, and for serve it
// starts the engine, the gateway, the managers and the listeners, and stops them in reverse. main
// calls it.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"cartwheel/app/commands"
)

// Console is where commands read and write.
type Console = commands.Console

// commandLine has the commands.
type commandLine struct {
	PrintVersion versionFlag `name:"version" short:"v" help:"Print the version."`

	Serve       serveCommand         `cmd:"" help:"Run the server. This is what runs without a command."`
	Stock       commands.Stock       `cmd:"" help:"Import and list products and their stock."`
	Cart        commands.Cart        `cmd:"" help:"Show a client's cart."`
	Checkouts   commands.Checkouts   `cmd:"" help:"List and show checkouts."`
	Events      commands.Events      `cmd:"" help:"Announce sales and cancellations again."`
	Audit       commands.Audit       `cmd:"" help:"Check the guarantees on one snapshot: stock, reservations and open checkouts."`
	Backup      commands.Backup      `cmd:"" help:"Write a snapshot of the embedded database to a file, beside a running server."`
	Restore     commands.Restore     `cmd:"" help:"Replace the embedded database by a backup, while the server is stopped."`
	Migrate     commands.Migrate     `cmd:"" help:"Migrate the tables, or show their state. The server migrates at start."`
	Config      configCommand        `cmd:"" help:"Check the settings and what they name."`
	Healthcheck commands.Healthcheck `cmd:"" help:"Ask a running server whether it is ready; exit status 0 if so."`
	Version     commands.Version     `cmd:"" help:"Print the version."`
	Completion  commands.Completion  `cmd:"" help:"Print a script that completes commands and flags in a shell."`
}

// errPrinted ends the parsing of a command line after a flag that only prints.
var errPrinted = errors.New("printed")

// A versionFlag prints the version, whatever else the command line has.
type versionFlag bool

// BeforeReset prints the version. kong calls it.
func (versionFlag) BeforeReset(console commands.Console) error {
	return errors.Join(errPrinted, commands.Version{}.Run(console))
}

// explicit returns the command line with what it leaves out: serve, where it begins with no
// command. kong's default command would hide the other commands from its suggestions.
func explicit(args []string) []string {
	own := []string{"-h", "--help", "-v", "--version"}
	switch {
	case len(args) > 0 && args[0] == "help":
		return append(slices.Clone(args[1:]), "--help")
	case len(args) == 0, strings.HasPrefix(args[0], "-") && !slices.Contains(own, args[0]):
		return append([]string{"serve"}, args...)
	}
	return args
}

const description = `Cartwheel keeps a shop's carts, stock and checkouts: one program over MySQL, or over an embedded database.

Without a command it serves. Flags beat the environment, which beats the defaults. The exit status is 0 for
success, 1 for a failure and 2 for a wrong command line.`

// Main runs one command and returns its exit status: 0 for success, 1 for failure, 2 for a wrong
// command line. It blocks until the command ends. SIGINT, SIGTERM and SIGHUP end the command's
// context.
func Main(args []string, console commands.Console) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	var line commandLine
	parser, err := kong.New(&line,
		kong.Name("cartwheel"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Writers(console.Out, console.Err),
		kong.Bind(console),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.ExplicitGroups(nil),
	)
	if err != nil {
		fmt.Fprintln(console.Err, "cartwheel:", err)
		return 1
	}
	err = readSecretFiles()
	var command *kong.Context
	if err == nil {
		command, err = parser.Parse(explicit(args))
	}
	if errors.Is(err, errPrinted) {
		return 0
	}
	if err != nil && explicit(args)[0] == "serve" && os.Getenv("LOG_FORMAT") != "text" && !commands.IsTerminal(console.Err) {
		slog.New(slog.NewJSONHandler(console.Err, nil)).Error("a setting is wrong", "error", oneLine(err))
		return 2
	}
	if err != nil {
		fmt.Fprintf(console.Err, "cartwheel: %s\nRun cartwheel --help for the commands and flags.\n", oneLine(err))
		return 2
	}
	if err := command.Run(); err != nil {
		if !errors.Is(err, commands.ErrReported) {
			fmt.Fprintln(console.Err, "cartwheel:", oneLine(err))
		}
		return 1
	}
	return 0
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

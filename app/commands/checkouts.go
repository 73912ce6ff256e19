package commands

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/inventory"
)

// Checkouts is the command group of that name.
type Checkouts struct {
	List  checkoutsListCommand  `cmd:"" help:"List checkouts, the newest first."`
	Show  checkoutsShowCommand  `cmd:"" help:"Show one checkout: its state, lines and reason."`
	Prune checkoutsPruneCommand `cmd:"" help:"Delete old settled checkouts from the journal, beside a running server."`
}

type checkoutsListCommand struct {
	Storage
	Output
	State  string `placeholder:"STATE" default:"any" enum:"any,open,reserved,refunding,committed,rolled_back,cancelling,cancelled" help:"Only those in this state: reserved, refunding, committed, rolled_back, cancelling, cancelled; open means reserved, refunding or cancelling."`
	Client string `placeholder:"CLIENT" help:"Only this client's."`
	Limit  uint   `default:"100" help:"The maximum number of checkouts; 0: all."`
	Since  age    `placeholder:"AGE" help:"Only those that began within this time, such as 7d or 12h."`
}

// Run lists checkouts.
func (c checkoutsListCommand) Run(ctx context.Context, console Console) error {
	filter := checkout.Filter{ClientID: c.Client, Limit: int(c.Limit), Since: time.Duration(c.Since)}
	switch c.State {
	case "any":
	case "open":
		filter.Open = true
	default:
		filter.State = checkout.State(c.State)
	}
	return c.reading(ctx, console, func(ctx context.Context, db *database.DB) error {
		out := newListing(console.Out, c.JSON, "CHECKOUT", "CLIENT", "STATE", "ITEMS", "CREATED (UTC)", "REASON")
		return out.end(checkout.List(ctx, db, filter, func(e checkout.Entry) error {
			began := e.CreatedAt.Format(time.DateTime)
			return out.add(e, e.CheckoutID, e.ClientID, e.State, shortItems(e.Lines), began, e.Reason)
		}))
	})
}

// maxShownItems is the maximum number of lines of a checkout in a row of the table.
const maxShownItems = 3

func shortItems(lines []inventory.Line) string {
	var shown []string
	for _, line := range lines[:min(len(lines), maxShownItems)] {
		shown = append(shown, fmt.Sprintf("%d × %s", line.Quantity, line.ProductID))
	}
	if more := len(lines) - maxShownItems; more > 0 {
		shown = append(shown, fmt.Sprintf("%d more", more))
	}
	return strings.Join(shown, ", ")
}

type checkoutsShowCommand struct {
	Storage
	Output
	ID string `arg:"" help:"The checkout's ID, as a Pending answer names it."`
}

// Run shows one checkout.
func (c checkoutsShowCommand) Run(ctx context.Context, console Console) error {
	return c.reading(ctx, console, func(ctx context.Context, db *database.DB) error {
		entry, err := checkout.Show(ctx, db, c.ID)
		if err != nil {
			return err
		}
		text := ""
		row := func(name, value string) { text += fmt.Sprintf("%-15s  %s\n", name, printable(value)) }
		row("checkout", entry.CheckoutID)
		row("client", entry.ClientID)
		row("state", fmt.Sprintf("%s (%s)", entry.State, stateInWords[entry.State]))
		if entry.Reason != "" {
			row("reason", entry.Reason)
		}
		if entry.IdempotencyKey != "" {
			row("idempotency key", entry.IdempotencyKey)
		}
		row("created", entry.CreatedAt.Format(time.DateTime)+" UTC")
		row("updated", entry.UpdatedAt.Format(time.DateTime)+" UTC")
		if !entry.State.Settled() {
			row("owner's until", entry.LeaseExpiresAt.Format(time.DateTime)+fmt.Sprintf(" UTC (epoch %d)", entry.Epoch))
		}
		for i, line := range entry.Lines {
			row(fmt.Sprintf("line %d", i+1), fmt.Sprintf("%d × %s", line.Quantity, line.ProductID))
		}
		return c.Print(console, entry, strings.TrimSuffix(text, "\n"))
	})
}

// stateInWords says what a state means to someone who has a customer on the phone.
var stateInWords = map[checkout.State]string{
	checkout.Reserved:   "the stock is reserved, the payment's outcome is not known yet",
	checkout.Committed:  "paid and sold",
	checkout.Refunding:  "paid, but a manual SQL edit lowered the stock; the money is going back",
	checkout.RolledBack: "not sold; the lines are in the cart again",
	checkout.Cancelling: "sold and cancelled; the money is going back",
	checkout.Cancelled:  "sold and cancelled; the money is back, the units are on hand again",
}

type checkoutsPruneCommand struct {
	Storage
	Output
	OlderThan age `default:"90d" placeholder:"AGE" help:"Minimum age of what is deleted, such as 90d or 2160h; at least 30d."`
}

// Validate refuses an age below the minimum. kong calls it.
func (c checkoutsPruneCommand) Validate() error {
	if time.Duration(c.OlderThan) < checkout.MinPruneAge {
		return fmt.Errorf("--older-than: expected at least %.0fd", checkout.MinPruneAge.Hours()/24)
	}
	return nil
}

// Run deletes settled checkouts.
func (c checkoutsPruneCommand) Run(ctx context.Context, console Console) error {
	return c.writing(ctx, console, c, existing)
}

func (c checkoutsPruneCommand) runOn(ctx context.Context, console Console, db *database.DB) error {
	deleted, err := checkout.Prune(ctx, db, time.Duration(c.OlderThan))
	checkouts := english.Plural(int(deleted), "checkout", "")
	if err != nil {
		return fmt.Errorf("deleted %s, then: %w", checkouts, err)
	}
	return c.Print(console, map[string]int64{"deleted": deleted}, db.Engine()+": deleted "+checkouts)
}

// An age is a duration that may be in days: 7d, 12h, 30m.
type age time.Duration

// UnmarshalText reads an age, which is more than 0. kong calls it.
func (a *age) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		parsed = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || parsed <= 0 {
		return fmt.Errorf("expected an age such as 12h or 90d, got %q", text)
	}
	*a = age(parsed)
	return nil
}

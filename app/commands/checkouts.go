package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
	State  string `placeholder:"STATE" help:"Only those in this state: reserved, refunding, committed, rolled_back, cancelling, cancelled; open means reserved, refunding or cancelling."`
	Client string `placeholder:"CLIENT" help:"Only this client's."`
	Since  string `placeholder:"AGE" help:"Only those that began within this time, such as 30m, 24h or 7d."`
	Limit  int    `default:"100" help:"At most so many; 0: all."`
	JSON   bool   `name:"json" help:"Print a JSON array, for programs."`
}

// listedStates are what --state takes: kong's own list of choices would have the empty text among
// them.
var listedStates = []string{"reserved", "refunding", "committed", "rolled_back", "cancelling", "cancelled", openState}

// openState is --state's word for all that are not settled.
const openState = "open"

// Validate says which flags make no sense. kong calls it.
func (c *checkoutsListCommand) Validate() error {
	switch {
	case c.State != "" && !slices.Contains(listedStates, c.State):
		return fmt.Errorf("--state is %q: expected one of %s", c.State, strings.Join(listedStates, ", "))
	case c.Limit < 0:
		return fmt.Errorf("--limit is %d: expected 0 (all) or more", c.Limit)
	case c.Since != "":
		if age, err := parseAge(c.Since); err != nil || age <= 0 {
			return fmt.Errorf("--since is %q: expected an age, such as 24h or 7d", c.Since)
		}
	}
	return nil
}

// Run lists checkouts.
func (c *checkoutsListCommand) Run(ctx context.Context, console Console) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return c.reading(ctx, console, func(db *database.DB) error {
		filter := checkout.Filter{State: checkout.State(c.State), ClientID: c.Client, Limit: c.Limit}
		if c.Since != "" {
			filter.Since, _ = parseAge(c.Since) // checked by Validate
		}
		if c.State == openState {
			filter.State, filter.Open = "", true
		}
		var out listing = newTable(console.Out, "CHECKOUT", "CLIENT", "STATE", "ITEMS", "CREATED (UTC)", "REASON")
		if c.JSON {
			out = newArray(console.Out)
		}
		if err := checkout.List(ctx, db, filter, func(e checkout.Entry) error {
			return out.add(e, e.CheckoutID, e.ClientID, e.State, shortItems(e.Lines), e.CreatedAt.Format(time.DateTime), e.Reason)
		}); err != nil {
			return err
		}
		return out.end()
	})
}

// maxShownItems is how many lines of a checkout a table row shows.
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
	ID   string `arg:"" help:"The checkout's ID, as a Pending answer names it."`
	JSON bool   `name:"json" help:"Print JSON, for programs."`
}

// Run shows one checkout.
func (c *checkoutsShowCommand) Run(ctx context.Context, console Console) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return c.reading(ctx, console, func(db *database.DB) error {
		entry, err := checkout.Show(ctx, db, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(console.Out).Encode(entry)
		}
		out := newTable(console.Out)
		row := func(name string, value any) { _ = out.add(nil, name, value) } // a table keeps its errors for its end
		row("checkout", entry.CheckoutID)
		row("client", entry.ClientID)
		row("state", stateInWords(entry))
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
		return out.end()
	})
}

// stateInWords says what a state means to someone who has a customer on the phone.
func stateInWords(e checkout.Entry) string {
	words := map[checkout.State]string{
		checkout.Reserved:   "the stock is held, the payment's outcome is not known yet",
		checkout.Committed:  "paid and sold",
		checkout.Refunding:  "paid, but the stock was lowered by hand; the money is going back",
		checkout.RolledBack: "not sold; the lines are in the cart again",
		checkout.Cancelling: "sold and cancelled; the money is going back",
		checkout.Cancelled:  "sold and cancelled; the money is back, the units are on hand again",
	}
	return string(e.State) + " (" + words[e.State] + ")"
}

type checkoutsPruneCommand struct {
	Storage
	OlderThan string `default:"90d" placeholder:"AGE" help:"Minimum age of what is deleted, such as 90d or 2160h; at least 30d."`
}

// Run deletes settled checkouts.
func (c *checkoutsPruneCommand) Run(ctx context.Context, console Console) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	age, err := parseAge(c.OlderThan)
	if err != nil || age < checkout.MinPruneAge {
		return fmt.Errorf("--older-than is %q: expected an age of at least 30d, such as 90d", c.OlderThan)
	}
	return c.reading(ctx, console, func(db *database.DB) error {
		deleted, err := checkout.Prune(ctx, db, age, nil)
		if err != nil {
			return fmt.Errorf("deleted %d checkouts, then: %w", deleted, err)
		}
		_, err = fmt.Fprintf(console.Out, "%s: deleted %s\n", db.Engine(), plural(deleted, "checkout"))
		return err
	})
}

// parseAge reads a duration that may be in days: 7d, 12h, 30m.
func parseAge(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

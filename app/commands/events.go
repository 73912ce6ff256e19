package commands

import (
	"context"
	"fmt"

	"cartwheel/checkout"
	"cartwheel/database"
)

// Events has the commands about sale events.
type Events struct {
	Replay eventsReplayCommand `cmd:"" help:"Announce the sales and cancellations of the last days again, at the webhook of the running servers."`
}

type eventsReplayCommand struct {
	Storage
	Since string `required:"" placeholder:"AGE" help:"Of the checkouts that began within this time, such as 7d or 12h."`
}

// Run makes events due again. A server with a webhook delivers them.
func (c *eventsReplayCommand) Run(ctx context.Context, console Console) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	age, err := parseAge(c.Since)
	if err != nil || age <= 0 {
		return fmt.Errorf("--since is %q: expected an age such as 7d or 12h", c.Since)
	}
	return c.reading(ctx, console, func(db *database.DB) error {
		replayed, err := checkout.ReplayEvents(ctx, db, age)
		if err != nil {
			return fmt.Errorf("%s are due again, then: %w", plural(replayed, "event"), err)
		}
		_, err = fmt.Fprintf(console.Out, "%s: %s due again\n", db.Engine(), plural(replayed, "event"))
		return err
	})
}

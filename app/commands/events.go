package commands

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize/english"

	"cartwheel/checkout"
	"cartwheel/database"
)

// Events has the commands about sale events.
type Events struct {
	Replay eventsReplayCommand `cmd:"" help:"Announce the sales and cancellations of the last days again, at the webhook of the running servers."`
}

type eventsReplayCommand struct {
	Storage
	Output
	Since age `required:"" placeholder:"AGE" help:"Of the checkouts that began within this time, such as 7d or 12h."`
}

// Run makes events due again. A server with a webhook delivers them.
func (c eventsReplayCommand) Run(ctx context.Context, console Console) error {
	return c.writing(ctx, console, c, existing)
}

func (c eventsReplayCommand) runOn(ctx context.Context, console Console, db *database.DB) error {
	replayed, err := checkout.ReplayEvents(ctx, db, time.Duration(c.Since))
	events := english.Plural(int(replayed), "event", "")
	if err != nil {
		return fmt.Errorf("%s are due again, then: %w", events, err)
	}
	return c.Print(console, map[string]int64{"due": replayed}, db.Engine()+": "+events+" due again")
}

package checkout

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"cartwheel/database"
	"cartwheel/payment"
)

const (
	// announceEvery is the interval between two searches for events that are due.
	announceEvery = 500 * time.Millisecond
	// maxEventsLeased is the maximum number of events that one instance leases at once.
	maxEventsLeased = 64
	// announceCalls is the maximum of concurrent deliveries.
	announceCalls = 16
	// announceLease is the time for which one instance delivers an event that it has leased. It
	// exceeds the time that the deliveries of a batch take.
	announceLease = 2 * time.Minute
	// minAnnouncePause and maxAnnouncePause bound the pause before an event is delivered again. It
	// is about as long as the event is old, so that it doubles.
	minAnnouncePause = time.Second
	maxAnnouncePause = 10 * time.Minute
	// lagEvery is the interval at which the lag is measured.
	lagEvery = 5 * time.Second
	// maxLagEvents is the maximum of undelivered events that a measurement of the lag counts.
	maxLagEvents = 10_000
)

// An eventKind is a kind of sale event.
type eventKind struct {
	name   string  // the last part of its type and of its ID
	column string  // of its due time, in the journal
	states []State // in which a checkout is announced
}

// The kinds of events. Each has its own due time.
var (
	committedEvent = eventKind{"committed", "committed_event_due_at", []State{Committed, Cancelling, Cancelled}}
	cancelledEvent = eventKind{"cancelled", "cancelled_event_due_at", []State{Cancelled}}
)

// eventOf returns the kind of event of a state: the end of a sale, or of a cancellation.
func eventOf(s State) eventKind {
	if s == Cancelled {
		return cancelledEvent
	}
	return committedEvent
}

// sender delivers one event.
type sender interface {
	Send(ctx context.Context, id string, body []byte) error
}

// EventObserver has hooks for metrics.
type EventObserver struct {
	Delivered func()
	Failed    func()
	// Lag is told of the undelivered events, up to maxLagEvents of a kind, and of the age of the
	// oldest.
	Lag func(undelivered int, oldest time.Duration)
}

// An Announcer delivers sale events. The journal is the outbox: an event becomes due in the
// transaction of its state, and any instance delivers it, at least once.
type Announcer struct {
	db      *database.DB
	sender  sender
	log     *slog.Logger
	observe EventObserver
}

// NewAnnouncer returns an announcer. All hooks of observe are set.
func NewAnnouncer(db *database.DB, sender sender, log *slog.Logger, observe EventObserver) *Announcer {
	return &Announcer{db: db, sender: sender, log: log, observe: observe}
}

// Run delivers events until ctx ends. It blocks.
func (a *Announcer) Run(ctx context.Context) {
	var measured time.Time
	for ctx.Err() == nil {
		more := false
		for _, kind := range []eventKind{committedEvent, cancelledEvent} {
			others, err := a.announce(ctx, kind)
			if err != nil && ctx.Err() == nil {
				a.log.Warn("could not look for events", "error", err)
			}
			more = more || others
		}
		if time.Since(measured) >= lagEvery {
			measured = time.Now()
			a.measure(ctx)
		}
		if !more {
			sleep(ctx, announceEvery)
		}
	}
}

// An eventLease has events of one kind that no other instance delivers before the lease ends.
type eventLease struct {
	kind    eventKind
	entries []Entry
	until   string        // the due time that the lease wrote, as the database formats it
	ahead   time.Duration // by how much the database's clock is ahead of this process's
}

// now returns the time by the database's clock.
func (l eventLease) now() time.Time { return time.Now().UTC().Add(l.ahead) }

// announce leases and delivers one batch of events. It reports whether others may be due at once:
// the batch was full, and the webhook accepted an event.
func (a *Announcer) announce(ctx context.Context, kind eventKind) (more bool, err error) {
	var leased eventLease
	err = a.db.Transact(ctx, func(tx *database.Tx) (err error) {
		leased, err = leaseEvents(ctx, tx, kind, maxEventsLeased, announceLease)
		if err == nil && len(leased.entries) == 0 {
			err = database.ErrNothingToWrite
		}
		return err
	}, nil) // events whose lease is in doubt are due again when it ends
	if err != nil || len(leased.entries) == 0 {
		return false, err
	}
	due := make([]string, len(leased.entries)) // when each event is due again; empty: it was delivered
	concurrently(len(due), announceCalls, func(i int) {
		due[i] = a.deliver(ctx, leased, leased.entries[i])
	})
	ending := context.WithoutCancel(ctx) // an instance that shuts down stores its deliveries, too
	err = a.db.Transact(ending, func(tx *database.Tx) error {
		return putEvents(ending, tx, leased, due)
	}, nil)
	more = slices.Contains(due, "")
	return more && len(due) == maxEventsLeased, err
}

// concurrently calls do with each number below n, at most limit calls at a time, and waits for all.
func concurrently(n, limit int, do func(i int)) {
	var calls errgroup.Group
	calls.SetLimit(limit)
	for i := range n {
		calls.Go(func() error {
			do(i)
			return nil
		})
	}
	_ = calls.Wait()
}

// deliver sends an event. It returns when the event is due again, or "" when it was delivered.
func (a *Announcer) deliver(ctx context.Context, leased eventLease, e Entry) (due string) {
	kind := leased.kind
	if !slices.Contains(kind.states, e.State) { // a manual SQL edit set its due time
		a.log.Error("an event is due of a checkout that did not reach its state", "checkout", e.CheckoutID, "state", e.State)
		return ""
	}
	body, err := kind.body(e)
	if err == nil {
		err = a.sender.Send(ctx, e.CheckoutID+"."+kind.name, body)
	}
	switch {
	case err == nil:
		a.observe.Delivered()
		return ""
	case ctx.Err() != nil: // the instance ends; another one, or the next run, delivers it at once
		return leased.now().Format(dueLayout)
	}
	a.observe.Failed()
	a.log.Warn("an event could not be delivered yet", "checkout", e.CheckoutID, "event", kind.name, "error", err)
	pause := min(max(leased.now().Sub(e.UpdatedAt), minAnnouncePause), maxAnnouncePause)
	pause = max(pause-rand.N(pause/4), minAnnouncePause)
	return leased.now().Add(pause).Format(dueLayout)
}

// body returns the event's body.
func (k eventKind) body(e Entry) ([]byte, error) {
	if e.Damage != nil {
		return nil, e.Damage
	}
	at := e.UpdatedAt
	if k.name == committedEvent.name && e.State != Committed {
		at = e.CreatedAt // it was cancelled since, and when it was committed is not stored
	}
	type data struct {
		CheckoutID string         `json:"checkoutID"`
		ClientID   string         `json:"clientID"`
		Reference  string         `json:"reference"`
		Items      []payment.Item `json:"items"`
	}
	return json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      data      `json:"data"`
	}{"checkout." + k.name, at.UTC(), data{e.CheckoutID, e.ClientID, e.Reference, itemsOf(e.Lines)}})
}

// measure tells the observer of the lag.
func (a *Announcer) measure(ctx context.Context) {
	undelivered, oldest := 0, time.Duration(0)
	if err := a.db.Read(ctx, func(tx *database.Tx) error {
		for _, kind := range []eventKind{committedEvent, cancelledEvent} {
			n, age, err := undeliveredEvents(ctx, tx, kind, maxLagEvents)
			if err != nil {
				return err
			}
			undelivered, oldest = undelivered+n, max(oldest, age)
		}
		return nil
	}); err != nil {
		return // the database may come back
	}
	a.observe.Lag(undelivered, oldest)
}

// ReplayEvents makes the events of the checkouts that began within age due again, in small
// transactions, and returns their number. It blocks. A repeat announces once more.
func ReplayEvents(ctx context.Context, db *database.DB, age time.Duration) (replayed int64, err error) {
	for after := firstID(age); ; {
		ids, err := database.Query(ctx, db.Read, func(tx *database.Tx) ([]string, error) {
			return idsSince(ctx, tx, after, age, database.ChunkRows)
		})
		if err != nil || len(ids) == 0 {
			return replayed, err
		}
		after = ids[len(ids)-1]
		var n int64
		if err := db.Transact(ctx, func(tx *database.Tx) error {
			n = 0
			for _, kind := range []eventKind{committedEvent, cancelledEvent} {
				due, err := makeEventsDue(ctx, tx, kind, ids)
				if err != nil {
					return err
				}
				n += due
			}
			return nil
		}, nil); err != nil {
			return replayed, fmt.Errorf("replay events: %w", err)
		}
		replayed += n
	}
}

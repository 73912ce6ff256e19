package checkout

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"cartwheel/database"
)

// entryColumns are the columns of an Entry, in the order in which scanEntry reads them.
const entryColumns = "checkout_id, client_id, state, epoch, items, COALESCE(reason, ''), COALESCE(reference, '')," +
	" COALESCE(idempotency_key, ''), created_at, updated_at, lease_expires_at"

func scanEntry(rows *sql.Rows) (Entry, error) {
	var e Entry
	var items []byte
	var lease sql.NullTime
	if err := rows.Scan(&e.CheckoutID, &e.ClientID, &e.State, &e.Epoch, &items, &e.Reason, &e.Reference, &e.IdempotencyKey,
		&e.CreatedAt, &e.UpdatedAt, &lease); err != nil {
		return Entry{}, err
	}
	e.LeaseExpiresAt = lease.Time
	if err := json.Unmarshal(items, &e.Lines); err != nil {
		e.Damage = fmt.Errorf("checkout %s has items that are no lines: %w", e.CheckoutID, err)
	}
	return e, nil
}

func selectEntries(ctx context.Context, tx *database.Tx, from string, args ...any) ([]Entry, error) {
	var entries []Entry
	err := tx.Each(ctx, func(rows *sql.Rows) error {
		e, err := scanEntry(rows)
		entries = append(entries, e)
		return err
	}, "SELECT "+entryColumns+" FROM "+from, args...)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	return entries, nil
}

func selectIDs(ctx context.Context, tx *database.Tx, from string, args ...any) (ids []string, err error) {
	if err = tx.Select(ctx, &ids, "SELECT checkout_id FROM "+from, args...); err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	return ids, nil
}

func idsOf(entries []Entry) []string {
	return database.IDs(entries, func(e Entry) string { return e.CheckoutID })
}

// resultsByID returns the results of those of the checkouts that the journal has. It locks nothing,
// and leaves out the lines: pollEnds asks for thousands of checkouts many times a second.
func resultsByID(ctx context.Context, tx *database.Tx, ids []string) (map[string]journalResult, error) {
	found, b := make(map[string]journalResult, len(ids)), tx.Batch()
	b.QueryIn(ids, func(rows *sql.Rows) error {
		var id string
		var result journalResult
		err := rows.Scan(&id, &result.state, &result.epoch, &result.reason)
		found[id] = result
		return err
	}, "SELECT checkout_id, state, epoch, COALESCE(reason, '') FROM "+tx.Dialect().ByKey("checkout_journal")+
		" WHERE checkout_id IN (?)")
	return found, b.Send(ctx)
}

// entriesByID returns those of the checkouts that the journal has, with the locking clause given.
// It locks them in the order of their IDs; with an empty clause it locks nothing.
func entriesByID(ctx context.Context, tx *database.Tx, ids []string, locking string) (map[string]Entry, error) {
	found := make(map[string]Entry, len(ids))
	for chunk := range slices.Chunk(database.SortedUnique(ids), database.ChunkRows) {
		entries, err := selectEntries(ctx, tx, tx.Dialect().ByKey("checkout_journal")+" WHERE checkout_id IN "+database.In(len(chunk))+
			" ORDER BY checkout_id"+locking, database.Anys(chunk)...)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			found[e.CheckoutID] = e
		}
	}
	return found, nil
}

// UnderWay finds those of the clients who have an open checkout that may return its lines to their
// carts, as is committed when the batch is sent. It locks nothing.
func UnderWay(b *database.Batch, clientIDs []string, found map[string]bool) {
	// The order is that of the index, which SQLite would not use otherwise.
	b.QueryIn(clientIDs, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		found[id] = true
		return err
	}, "SELECT client_id FROM checkout_journal WHERE client_id IN (?)"+
		" AND lease_expires_at IS NOT NULL AND state <> '"+string(Cancelling)+"' ORDER BY client_id, lease_expires_at")
}

// insertEntries writes new checkouts, reserved, under epoch 1, with leases from now on.
func insertEntries(b *database.Batch, claims []*claim, lease time.Duration) error {
	d := b.Dialect()
	const columns = "checkout_id, client_id, state, epoch, lease_expires_at, items, reference, idempotency_key, created_at, updated_at"
	values := []string{"?", "?", "'" + string(Reserved) + "'", "1", d.NowPlus(lease), "?", "?", "?", d.Now(), d.Now()}
	for piece := range database.Pieces(d, claims) {
		args := make([]any, 0, 5*len(piece))
		for _, c := range piece {
			items, err := json.Marshal(c.lines)
			if err != nil {
				return fmt.Errorf("encode the items of checkout %s: %w", c.id, err)
			}
			args = append(args, c.id, c.clientID, string(items), database.NullIfEmpty(c.reference), database.NullIfEmpty(c.key))
		}
		b.Exec(nil, database.InsertEach("checkout_journal", columns, values, len(piece)), args...)
	}
	return nil
}

// A transition is a change of state that several checkouts make alike.
type transition struct {
	from, to  State
	epoch     int
	reason    string
	announced bool // the event of its end becomes due
}

// updateEntries makes a transition for checkouts that are in its state and epoch. The IDs are
// sorted. If one checkout is in another state or epoch, Batch.Send returns errClaimLost. A
// cancellation begins under a new epoch, with a lease from now on.
func updateEntries(b *database.Batch, t transition, ids []string, lease time.Duration) {
	d := b.Dialect()
	set := "lease_expires_at = lease_expires_at" // keeps the lease
	switch {
	case t.to == Cancelling:
		set = "lease_expires_at = " + d.NowPlus(lease) + ", epoch = epoch + 1"
	case t.to.Settled():
		set = "lease_expires_at = NULL"
	}
	if t.announced {
		set += ", " + eventOf(t.to).column + " = " + d.Now()
	}
	for chunk := range slices.Chunk(ids, database.ChunkRows) {
		padded := database.Pad(chunk)
		args := append([]any{t.to, database.NullIfEmpty(t.reason), t.from, t.epoch}, database.Anys(padded)...)
		all := func(moved int64) error {
			if moved != int64(len(chunk)) {
				return errClaimLost
			}
			return nil
		}
		b.Exec(all, "UPDATE "+d.ByKey("checkout_journal")+" SET state = ?, reason = ?, "+set+
			", updated_at = "+d.Now()+" WHERE state = ? AND epoch = ? AND checkout_id IN "+database.In(len(padded)), args...)
	}
}

// expiredEntries returns open checkouts whose leases have expired, the longest expired first. It
// locks nothing.
func expiredEntries(ctx context.Context, tx *database.Tx, limit int) ([]Entry, error) {
	return selectEntries(ctx, tx, "checkout_journal WHERE lease_expires_at <= "+tx.Dialect().Now()+
		" ORDER BY lease_expires_at LIMIT ?", limit)
}

// claimExpired claims those of the checkouts, sorted, that are still expired and not locked by
// another instance. It returns them as they were: their epoch is one less than the claim's.
func claimExpired(ctx context.Context, tx *database.Tx, ids []string, lease time.Duration) ([]Entry, error) {
	d := tx.Dialect()
	entries, err := selectEntries(ctx, tx, "checkout_journal WHERE checkout_id IN "+database.In(len(ids))+" AND lease_expires_at <= "+d.Now()+
		" ORDER BY checkout_id"+tx.ForUpdateSkipLocked(), database.Anys(ids)...)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	args := database.Anys(idsOf(entries))
	if _, err := tx.Exec(ctx, "UPDATE "+d.ByKey("checkout_journal")+" SET epoch = epoch + 1, lease_expires_at = "+d.NowPlus(lease)+
		", updated_at = "+d.Now()+" WHERE checkout_id IN "+database.In(len(args)), args...); err != nil {
		return nil, fmt.Errorf("claim checkouts: %w", err)
	}
	return entries, nil
}

// expireLeases ends the leases of checkouts that their owner leaves to others.
func expireLeases(ctx context.Context, tx *database.Tx, claims []*claim) error {
	for chunk := range slices.Chunk(claims, database.ChunkRows) {
		args := make([]any, 0, 2*len(chunk))
		for _, c := range chunk {
			args = append(args, c.id, c.epoch)
		}
		if _, err := tx.Exec(ctx, "UPDATE "+tx.Dialect().ByKey("checkout_journal")+" SET lease_expires_at = "+tx.Dialect().Now()+
			" WHERE "+database.AnyOf(len(chunk), "checkout_id = ? AND epoch = ?")+" AND lease_expires_at IS NOT NULL",
			args...); err != nil {
			return fmt.Errorf("expire leases: %w", err)
		}
	}
	return nil
}

// expireAllLeases ends every lease.
func expireAllLeases(ctx context.Context, tx *database.Tx) (int64, error) {
	n, err := tx.Exec(ctx, "UPDATE checkout_journal SET lease_expires_at = "+tx.Dialect().Now()+
		" WHERE lease_expires_at IS NOT NULL")
	if err != nil {
		return 0, fmt.Errorf("expire leases: %w", err)
	}
	return n, nil
}

// openIDs returns the open checkouts, or those of one client, in the filter's order. The statement
// has no ORDER BY: with one, the engines would read all settled checkouts along the primary key.
func openIDs(ctx context.Context, tx *database.Tx, filter Filter) ([]string, error) {
	where, args := "lease_expires_at IS NOT NULL", []any{}
	if filter.ClientID != "" {
		where, args = where+" AND client_id = ?", append(args, filter.ClientID)
	}
	ids, err := selectIDs(ctx, tx, "checkout_journal WHERE "+where, args...)
	slices.Sort(ids)
	if !filter.Oldest {
		slices.Reverse(ids)
	}
	return ids, err
}

// entriesInOrder returns up to limit checkouts, or those of one client, after the ID given. IDs
// sort by time; they are in the filter's order.
func entriesInOrder(ctx context.Context, tx *database.Tx, filter Filter, after string, limit int) ([]Entry, error) {
	first, last, order := "", "~", "DESC" // IDs are lower than "~"
	switch {
	case filter.Oldest:
		first, order = after, ""
	case after != "":
		last = after
	}
	from, args := tx.Dialect().ByKey("checkout_journal")+" WHERE ", []any{}
	if filter.ClientID != "" {
		from, args = "checkout_journal WHERE client_id = ? AND ", append(args, filter.ClientID)
	}
	return selectEntries(ctx, tx, from+"checkout_id > ? AND checkout_id < ? ORDER BY checkout_id "+order+" LIMIT ?",
		append(args, first, last, limit)...)
}

// overdueEntries returns all open checkouts whose leases expired that long ago, the longest first.
func overdueEntries(ctx context.Context, tx *database.Tx, age time.Duration) ([]Entry, error) {
	return selectEntries(ctx, tx, "checkout_journal WHERE lease_expires_at < "+tx.Dialect().NowPlus(-age)+" ORDER BY lease_expires_at")
}

// settledAfter returns settled checkouts that are younger than age, in the order of their IDs,
// after the one given.
func settledAfter(ctx context.Context, tx *database.Tx, after string, age time.Duration, limit int) ([]Entry, error) {
	return selectEntries(ctx, tx, tx.Dialect().ByKey("checkout_journal")+" WHERE checkout_id > ? AND lease_expires_at IS NULL"+
		" AND created_at > "+tx.Dialect().NowPlus(-age)+" ORDER BY checkout_id LIMIT ?", after, limit)
}

// noEventDue is the condition that no event of a row is due.
const noEventDue = " AND committed_event_due_at IS NULL AND cancelled_event_due_at IS NULL"

// settledBefore returns the IDs of settled checkouts that are older than age and have no event due,
// in order, after the one given.
func settledBefore(ctx context.Context, tx *database.Tx, after string, age time.Duration, limit int) ([]string, error) {
	return selectIDs(ctx, tx, tx.Dialect().ByKey("checkout_journal")+
		" WHERE checkout_id > ? AND checkout_id < ? AND lease_expires_at IS NULL"+noEventDue+" AND updated_at < "+tx.Dialect().NowPlus(-age)+
		" ORDER BY checkout_id LIMIT ?", after, firstID(age-2*clockSkew), limit)
}

// deleteSettled deletes the checkouts that are still settled and have no event due. The IDs are
// sorted.
func deleteSettled(ctx context.Context, tx *database.Tx, ids []string) (int64, error) {
	table := "checkout_journal"
	from := "FROM " + table
	if tx.Dialect().Name() == "mysql" { // only this form takes an index hint
		from = table + " FROM " + tx.Dialect().ByKey(table)
	}
	n, err := tx.Exec(ctx, "DELETE "+from+" WHERE checkout_id IN "+database.In(len(ids))+" AND lease_expires_at IS NULL"+noEventDue, database.Anys(ids)...)
	if err != nil {
		return 0, fmt.Errorf("prune the journal: %w", err)
	}
	return n, nil
}

// dueLayout is how a due time is written.
const dueLayout = "2006-01-02 15:04:05.000"

// leaseEvents leases events that are due, the longest due first, and returns them in the order of
// their IDs. It leaves out those that another instance is leasing.
func leaseEvents(ctx context.Context, tx *database.Tx, kind eventKind, limit int, lease time.Duration) (l eventLease, err error) {
	d := tx.Dialect()
	l.kind = kind
	l.entries, err = selectEntries(ctx, tx, "checkout_journal WHERE "+kind.column+" <= "+d.Now()+
		" ORDER BY "+kind.column+" LIMIT ?"+tx.ForUpdateSkipLocked(), limit)
	if err != nil || len(l.entries) == 0 {
		return l, err
	}
	if l.until, l.ahead, err = endOfLease(ctx, tx, lease); err != nil {
		return l, err
	}
	slices.SortFunc(l.entries, func(a, b Entry) int { return strings.Compare(a.CheckoutID, b.CheckoutID) })
	if _, err := tx.Exec(ctx, "UPDATE "+d.ByKey("checkout_journal")+" SET "+kind.column+" = ?"+
		" WHERE checkout_id IN "+database.In(len(l.entries)), append([]any{l.until}, database.Anys(idsOf(l.entries))...)...); err != nil {
		return l, fmt.Errorf("lease events: %w", err)
	}
	return l, nil
}

// endOfLease returns the end of a lease that begins now, and how far the database's clock is ahead
// of this process's.
func endOfLease(ctx context.Context, tx *database.Tx, lease time.Duration) (until string, ahead time.Duration, err error) {
	var at time.Time
	err = tx.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&until) }, "SELECT CAST("+tx.Dialect().NowPlus(lease)+" AS CHAR)")
	if err == nil {
		at, err = time.Parse(time.DateTime, until)
	}
	if err != nil {
		return "", 0, fmt.Errorf("read the time: %w", err)
	}
	return until, time.Until(at) - lease, nil
}

// putEvents ends the leases of events and stores their next due times. It leaves out events that
// were replayed or leased again since. After a lock wait it leaves out locked rows, too: their
// events are delivered again when the lease ends.
func putEvents(ctx context.Context, tx *database.Tx, leased eventLease, due []string) (err error) {
	var unlocked map[string]Entry
	if tx.AfterLockTimeout() {
		if unlocked, err = entriesByID(ctx, tx, idsOf(leased.entries), tx.ForUpdateSkipLocked()); err != nil {
			return err
		}
	}
	batch, column := tx.Batch(), leased.kind.column
	for i, e := range leased.entries {
		if _, isUnlocked := unlocked[e.CheckoutID]; isUnlocked || unlocked == nil {
			batch.Exec(nil, "UPDATE "+tx.Dialect().ByKey("checkout_journal")+" SET "+column+" = ? WHERE checkout_id = ? AND "+column+" = ?",
				database.NullIfEmpty(due[i]), e.CheckoutID, leased.until)
		}
	}
	if err := batch.Send(ctx); err != nil {
		return fmt.Errorf("note delivered events: %w", err)
	}
	return nil
}

// undeliveredEvents counts events that are not delivered, up to a limit, and returns how long ago
// the oldest of their checkouts reached its state.
func undeliveredEvents(ctx context.Context, tx *database.Tx, kind eventKind, limit int) (n int, oldest time.Duration, err error) {
	var first, now sql.NullString
	err = tx.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&n, &first, &now) },
		"SELECT COUNT(*), CAST(MIN(k.updated_at) AS CHAR), CAST("+tx.Dialect().Now()+" AS CHAR) FROM (SELECT updated_at FROM checkout_journal"+
			" WHERE "+kind.column+" IS NOT NULL ORDER BY "+kind.column+" LIMIT ?) AS k", limit)
	if err == nil && n > 0 {
		oldest, err = between(first.String, now.String)
	}
	return n, oldest, err
}

// between returns the time between two texts of the database's clock.
func between(first, last string) (time.Duration, error) {
	since, err := time.Parse(time.DateTime, first)
	if err != nil {
		return 0, fmt.Errorf("read a time: %w", err)
	}
	until, err := time.Parse(time.DateTime, last)
	return until.Sub(since), err
}

// openLevels counts the open checkouts by state, up to a limit.
func openLevels(ctx context.Context, tx *database.Tx, limit int) (OpenLevels, error) {
	levels := OpenLevels{Count: map[State]int{}}
	err := tx.Each(ctx, func(rows *sql.Rows) error {
		var state State
		var n int
		var first, now string
		if err := rows.Scan(&state, &n, &first, &now); err != nil {
			return err
		}
		age, err := between(first, now)
		levels.Count[state], levels.Oldest = n, max(levels.Oldest, age)
		return err
	}, "SELECT k.state, COUNT(*), CAST(MIN(k.created_at) AS CHAR), CAST("+tx.Dialect().Now()+" AS CHAR) FROM"+
		" (SELECT state, created_at FROM checkout_journal WHERE lease_expires_at IS NOT NULL ORDER BY lease_expires_at LIMIT ?) AS k"+
		" GROUP BY k.state", limit)
	return levels, err
}

// idsSince returns the checkouts that began within age, in the order of their IDs, after the one
// given.
func idsSince(ctx context.Context, tx *database.Tx, after string, age time.Duration, limit int) ([]string, error) {
	return selectIDs(ctx, tx, tx.Dialect().ByKey("checkout_journal")+
		" WHERE checkout_id > ? AND created_at > "+tx.Dialect().NowPlus(-age)+" ORDER BY checkout_id LIMIT ?", after, limit)
}

// makeEventsDue makes an event due for those of the checkouts, sorted, that have reached its state.
func makeEventsDue(ctx context.Context, tx *database.Tx, kind eventKind, ids []string) (int64, error) {
	args := database.Anys(ids)
	for _, state := range kind.states {
		args = append(args, state)
	}
	return tx.Exec(ctx, "UPDATE "+tx.Dialect().ByKey("checkout_journal")+" SET "+kind.column+" = "+tx.Dialect().Now()+
		" WHERE checkout_id IN "+database.In(len(ids))+" AND state IN "+database.In(len(kind.states)), args...)
}

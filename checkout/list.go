package checkout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cartwheel/database"
)

// A Filter selects checkouts to list. The zero Filter selects all.
type Filter struct {
	State    State         // empty: any
	Open     bool          // only those that are not settled
	ClientID string        // empty: any
	Since    time.Duration // only those that began within this time; 0: any
	Limit    int           // 0: no limit
	Oldest   bool          // the oldest first, instead of the newest
}

// clockSkew is by how much the clocks of instances and database may differ when checkouts are looked for by time.
const clockSkew = time.Hour

// firstID is below the ID of every checkout that began so long ago at most: IDs are UUIDs of version 7, which begin
// with the milliseconds of the instance's clock.
func firstID(age time.Duration) string {
	at := time.Now().Add(-age - clockSkew).UnixMilli()
	return fmt.Sprintf("%08x-%04x", at>>16, at&0xffff)
}

// listPage is the number of journal rows that one read of a list examines.
const listPage = database.ChunkRows

// List calls use for each checkout, the newest first or as the filter says. It locks nothing. It reads page by page and
// calls use between the reads, so that a slow reader of the list pins no snapshot of the database.
//
// Open checkouts are found by the index of the leases, and a client's by the index of the clients. Other lists go along
// the primary key, page by page.
func List(ctx context.Context, db *database.DB, filter Filter, use func(Entry) error) error {
	if filter.State == Reserved || filter.State == Refunding {
		filter.Open = true
	}
	next := pages(db, filter)
	listed := 0
	for {
		var page []Entry
		var more bool
		err := db.Read(ctx, func(tx *database.Tx) (err error) {
			page, more, err = next(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range page {
			if filter.State != "" && e.State != filter.State {
				continue
			}
			if listed++; filter.Limit > 0 && listed > filter.Limit {
				return nil
			}
			if err := use(e); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// A pager returns the next page and whether another one may follow.
type pager func(ctx context.Context, tx *database.Tx) (page []Entry, more bool, err error)

func pages(db *database.DB, filter Filter) pager {
	if filter.Open || filter.ClientID != "" {
		return pagesByIndex(filter)
	}
	last := ""
	first := true
	return func(ctx context.Context, tx *database.Tx) ([]Entry, bool, error) {
		page, err := entriesInOrder(ctx, tx, filter, last, first)
		first = false
		if len(page) > 0 {
			last = page[len(page)-1].CheckoutID
		}
		return page, len(page) == listPage, err
	}
}

// pagesByIndex reads the IDs once and the checkouts page by page.
func pagesByIndex(filter Filter) pager {
	var ids []string
	read := false
	return func(ctx context.Context, tx *database.Tx) ([]Entry, bool, error) {
		if !read {
			found, err := idsByIndex(ctx, tx, filter)
			if err != nil {
				return nil, false, err
			}
			ids, read = found, true
			slices.Sort(ids)
			if !filter.Oldest {
				slices.Reverse(ids)
			}
		}
		n := min(listPage, len(ids))
		entries, err := entriesByID(ctx, tx, ids[:n])
		if err != nil {
			return nil, false, err
		}
		var page []Entry
		for _, id := range ids[:n] {
			if e, found := entries[id]; found && (!filter.Open || !e.State.Settled()) {
				page = append(page, e)
			}
		}
		ids = ids[n:]
		return page, len(ids) > 0, nil
	}
}

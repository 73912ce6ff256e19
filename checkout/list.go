package checkout

import (
	"context"
	"fmt"
	"time"

	"cartwheel/database"
)

// A Filter selects checkouts to list. The zero Filter selects all.
type Filter struct {
	State    State  // empty: any
	Open     bool   // only those that are not settled
	ClientID string // empty: any
	Limit    int    // 0: no limit
	Oldest   bool   // the oldest first, instead of the newest
	// Since is the maximum age, of lists with the newest first. 0: any.
	Since time.Duration
}

// clockSkew is the maximum difference between the clocks of instances and database in a search by
// time.
const clockSkew = time.Hour

// firstID returns a lower bound for the IDs of the checkouts that began within age: IDs are UUIDs
// of version 7, which begin with the milliseconds of the instance's clock.
func firstID(age time.Duration) string {
	at := time.Now().Add(-age - clockSkew).UnixMilli()
	return fmt.Sprintf("%08x-%04x", at>>16, at&0xffff)
}

// listPage is the number of journal rows that one read of a list examines.
const listPage = database.ChunkRows

// List calls use for each checkout, the newest first or as the filter says. It locks nothing. It
// reads page by page and calls use between the reads, so that a slow reader of the list pins no
// snapshot of the database.
//
// Open checkouts are found by the index of the leases. Other lists go along the primary key, or the
// index of the clients.
func List(ctx context.Context, db *database.DB, filter Filter, use func(Entry) error) error {
	filter.Open = filter.Open || filter.State != "" && !filter.State.Settled()
	p, oldest := pager{filter: filter}, firstID(filter.Since)
	for listed := 0; !p.end; {
		page, err := database.Query(ctx, db.ReadStale, func(tx *database.Tx) ([]Entry, error) { return p.next(ctx, tx) })
		if err != nil {
			return err
		}
		for _, e := range page {
			old := filter.Since > 0 && time.Since(e.CreatedAt) > filter.Since
			if old && e.CheckoutID < oldest {
				return nil
			}
			if old || filter.State != "" && e.State != filter.State {
				continue
			}
			if listed++; filter.Limit > 0 && listed > filter.Limit {
				return nil
			}
			if err := use(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// OfClient returns up to limit checkouts of a client, the newest first, from before the one given.
// An empty ID begins with the newest. It locks nothing and blocks for one read.
func (m *Manager) OfClient(ctx context.Context, clientID, before string, limit int) ([]Entry, error) {
	return database.Query(ctx, m.db.ReadStale, func(tx *database.Tx) ([]Entry, error) {
		return entriesInOrder(ctx, tx, Filter{ClientID: clientID}, before, limit)
	})
}

// A pager reads a list page by page.
type pager struct {
	filter Filter
	end    bool     // there are no more pages
	ids    []string // of the open checkouts that are still to be read; nil before the first page
	last   string   // the last ID of the last page of any other list; empty before the first page
}

func (p *pager) next(ctx context.Context, tx *database.Tx) (page []Entry, err error) {
	if !p.filter.Open {
		page, err = entriesInOrder(ctx, tx, p.filter, p.last, listPage)
		if p.end = len(page) < listPage; len(page) > 0 {
			p.last = page[len(page)-1].CheckoutID
		}
		return page, err
	}
	if p.ids == nil {
		if p.ids, err = openIDs(ctx, tx, p.filter); err != nil {
			return nil, err
		}
	}
	n := min(listPage, len(p.ids))
	entries, err := entriesByID(ctx, tx, p.ids[:n], "")
	if err != nil {
		return nil, err
	}
	for _, id := range p.ids[:n] {
		if e, found := entries[id]; found && !e.State.Settled() {
			page = append(page, e)
		}
	}
	p.ids = p.ids[n:]
	p.end = len(p.ids) == 0
	return page, nil
}

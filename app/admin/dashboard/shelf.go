package dashboard

import (
	"context"
	"sync"
	"time"

	"cartwheel/inventory"
)

const (
	// stockRows is how many products are shown.
	stockRows = 50
	// readTime bounds one read of the database.
	readTime = 3 * time.Second
	// freshFor is how long, at least, what was read is shown again instead of being read anew.
	freshFor = 2 * time.Second
	// idleShare is how many times as long as a read took it is not repeated: reading takes two
	// hundredths of the time at most, however large the catalogue is.
	idleShare = 50
	// breather is how many times as long as a read took nothing else is read: whoever types quickly
	// asks for much.
	breather = 2
	// maxSearches is how many different searches are remembered.
	maxSearches = 32
	// maxSearchRunes is the longest search; no ID or name is longer.
	maxSearchRunes = 100
)

// A listing is what was read of the stock.
type listing struct {
	Products []inventory.Product
	More     bool // there are more than these
	At       time.Time
	Failed   bool // it could not be read again; this is the last that could

	stale time.Time // when it is to be read again
}

// A shelf reads the stock, one reader at a time, and remembers what it read for a while.
type shelf struct {
	shop shop
	turn chan struct{} // a token for whoever reads

	mu       sync.Mutex
	searches map[string]listing // under mu
}

func newShelf(shop shop) *shelf {
	return &shelf{shop: shop, turn: make(chan struct{}, 1), searches: map[string]listing{}}
}

// look returns the products with search in ID or name of which the least is available. It blocks
// while it reads.
func (s *shelf) look(ctx context.Context, search string) listing {
	if runes := []rune(search); len(runes) > maxSearchRunes {
		search = string(runes[:maxSearchRunes])
	}
	if known, fresh := s.remembered(search); fresh {
		return known
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		known, _ := s.remembered(search)
		return known
	}
	var took time.Duration
	defer func() { time.AfterFunc(breather*took, func() { <-s.turn }) }()
	known, fresh := s.remembered(search) // another reader may have been before
	if fresh {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	began := time.Now()
	products, err := s.shop.LowestStock(ctx, search, stockRows+1)
	took = time.Since(began)
	if err != nil {
		known.Failed = true
	} else {
		known = listing{Products: products[:min(len(products), stockRows)], More: len(products) > stockRows, At: began}
	}
	known.stale = time.Now().Add(max(freshFor, idleShare*took))
	s.remember(search, known)
	return known
}

func (s *shelf) remembered(search string) (known listing, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, found := s.searches[search]
	return known, found && time.Now().Before(known.stale)
}

func (s *shelf) remember(search string, l listing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, found := s.searches[search]; !found && len(s.searches) >= maxSearches {
		clear(s.searches)
	}
	s.searches[search] = l
}

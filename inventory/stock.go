package inventory

import "strings"

// Stock is what a transaction knows of some products, and of what it has promised of them since. It
// belongs to one goroutine.
type Stock struct {
	levels  map[string]*Level // no entry: there is no such product
	locked  map[string]bool   // locked by another session, and therefore not known
	missing []string          // an import's: products that it creates, sorted; they have an entry
	names   map[string]string // an import's: the names of products whose row has one
}

func newStock(products int) *Stock {
	return &Stock{levels: make(map[string]*Level, products), locked: map[string]bool{}}
}

// Level returns a product's stock, and whether there is such a product.
func (s *Stock) Level(productID string) (Level, bool) {
	level, ok := s.levels[productID]
	if !ok {
		return Level{}, false
	}
	return *level, true
}

// Free returns a *LockedError for the first line whose product is locked by someone else.
func (s *Stock) Free(lines []Line) error {
	for _, line := range lines {
		if s.locked[line.ProductID] {
			return &LockedError{line.ProductID}
		}
	}
	return nil
}

// Reserve counts the lines as reserved, all of them or none.
//
// Errors: *LockedError when a product is locked by someone else, *NotEnoughError for the first line
// that is short; a line whose product is gone has 0 available.
func (s *Stock) Reserve(lines []Line) error {
	if err := s.Free(lines); err != nil {
		return err
	}
	for i, line := range lines {
		level := s.levels[line.ProductID]
		if level == nil || line.Quantity > level.Available() {
			short := &NotEnoughError{ProductID: line.ProductID, Wanted: line.Quantity}
			if level != nil {
				short.Available = level.Available()
			}
			s.unreserve(lines[:i])
			return short
		}
		level.Reserved += line.Quantity
	}
	return nil
}

func (s *Stock) unreserve(lines []Line) {
	for _, line := range lines {
		s.levels[line.ProductID].Reserved -= line.Quantity
	}
}

// Sell takes the lines off what is on hand, all of them or none, whatever is reserved.
//
// Errors: *LockedError; ErrShort when less is on hand.
func (s *Stock) Sell(lines []Line) error {
	if err := s.Free(lines); err != nil {
		return err
	}
	for i, line := range lines {
		level := s.levels[line.ProductID]
		if level == nil || line.Quantity > level.OnHand {
			for _, sold := range lines[:i] {
				s.levels[sold.ProductID].OnHand += sold.Quantity
			}
			return ErrShort
		}
		level.OnHand -= line.Quantity
	}
	return nil
}

func compare(a, b string) int { return strings.Compare(a, b) }

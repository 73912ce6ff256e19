package inventory

// Stock is what a transaction knows of some products, and of what it has promised of them since. It
// belongs to one goroutine.
type Stock struct {
	levels  map[string]*Level // no entry: there is no such product
	locked  map[string]bool   // locked by another session, and therefore not known
	missing []string          // an import's: products that it creates, sorted; they have an entry
	names   map[string]string // an import's: the names of the products that there are
}

func newStock(products int) *Stock {
	return &Stock{levels: make(map[string]*Level, products), locked: map[string]bool{}}
}

// Level returns a product's stock, and whether there is such a product.
func (s *Stock) Level(productID string) (Level, bool) {
	if level := s.levels[productID]; level != nil {
		return *level, true
	}
	return Level{}, false
}

// CheckUnlocked returns database.ErrRowLocked for the first line whose product is locked by someone
// else.
func (s *Stock) CheckUnlocked(lines []Line) error {
	for _, line := range lines {
		if s.locked[line.ProductID] {
			return lockedError(line.ProductID)
		}
	}
	return nil
}

// TryReserve counts the lines, each of another product, as reserved if all are available, else
// none.
//
// Errors: database.ErrRowLocked when a product is locked by someone else, *NotEnoughError for the
// first line that is short; a line whose product is gone has 0 available.
func (s *Stock) TryReserve(lines []Line) error {
	if err := s.CheckUnlocked(lines); err != nil {
		return err
	}
	for _, line := range lines {
		level, exists := s.Level(line.ProductID)
		if !exists || line.Quantity > level.Available() {
			return &NotEnoughError{line.ProductID, line.Quantity, level.Available()}
		}
	}
	for _, line := range lines {
		s.levels[line.ProductID].Reserved += line.Quantity
	}
	return nil
}

// TrySell subtracts the lines, each of another product, from the quantity on hand: all of them or
// none, whatever is reserved.
//
// Errors: database.ErrRowLocked; ErrShort when less is on hand.
func (s *Stock) TrySell(lines []Line) error {
	if err := s.CheckUnlocked(lines); err != nil {
		return err
	}
	for _, line := range lines {
		level, exists := s.Level(line.ProductID)
		if !exists || line.Quantity > level.OnHand {
			return ErrShort
		}
	}
	for _, line := range lines {
		s.levels[line.ProductID].OnHand -= line.Quantity
	}
	return nil
}

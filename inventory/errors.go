package inventory

import (
	"errors"
	"fmt"

	"cartwheel/database"
)

var (
	// ErrNotEnough means that less is available than was wanted; it comes as a *NotEnoughError.
	ErrNotEnough = errors.New("not enough stock")
	// ErrNoProduct means that there is no such product; it comes as a *NoProductError.
	ErrNoProduct = errors.New("no such product")
	// ErrShort means that less is on hand than a paid checkout reserved: a manual SQL edit, or a
	// second writer of a cluster, lowered it.
	ErrShort = errors.New("less on hand than was reserved")
)

// NotEnoughError names the first line that is short. It is an ErrNotEnough.
type NotEnoughError struct {
	ProductID         string
	Wanted, Available int64 // units
}

func (e *NotEnoughError) Error() string {
	return fmt.Sprintf("not enough stock of product %q: wanted %d, available %d", e.ProductID, e.Wanted, e.Available)
}

// Is makes it an ErrNotEnough.
func (e *NotEnoughError) Is(target error) bool { return target == ErrNotEnough }

// NoProductError names a product that is not in the catalogue. It is an ErrNoProduct.
type NoProductError struct{ ProductID string }

func (e *NoProductError) Error() string { return fmt.Sprintf("no such product: %q", e.ProductID) }

// Is makes it an ErrNoProduct.
func (e *NoProductError) Is(target error) bool { return target == ErrNoProduct }

// lockedError names a product whose row another session keeps locked. It is a
// database.ErrRowLocked.
func lockedError(productID string) error {
	return fmt.Errorf("%w: the stock of product %q", database.ErrRowLocked, productID)
}

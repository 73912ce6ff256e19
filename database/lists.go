package database

import (
	"iter"
	"slices"
)

// paddedSizes are the lengths in which lists of rows come in statements that are kept prepared: close enough that little is
// sent in vain, few enough that each connection keeps them all.
var paddedSizes = []int{
	1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, ChunkRows,
}

// Pad returns the items, at most ChunkRows, with repeats of the last one behind them so that their number is one of few: the text of a
// statement over them is then worth keeping prepared (Tx.Kept). It is for statements that a repeat does not change.
func Pad[T any](items []T) []T {
	if len(items) == 0 {
		return items
	}
	at, found := slices.BinarySearch(paddedSizes, len(items))
	if found || at == len(paddedSizes) {
		return items
	}
	padded := make([]T, 0, paddedSizes[at])
	padded = append(padded, items...)
	for len(padded) < paddedSizes[at] {
		padded = append(padded, items[len(items)-1])
	}
	return padded
}

// Pieces cuts items, in order, into pieces of at most ChunkRows, so that a statement over a piece is worth keeping prepared
// (Tx.Kept): where each row stands in the text, the lengths of pieces are few. It is for statements that Pad's repeats
// would change.
func Pieces[T any](d Dialect, items []T) iter.Seq[[]T] {
	if d.pack != nil {
		return slices.Chunk(items, ChunkRows)
	}
	return func(yield func([]T) bool) {
		for len(items) > 0 {
			at, found := slices.BinarySearch(paddedSizes, len(items))
			if !found {
				at--
			}
			n := paddedSizes[at]
			if !yield(items[:n:n]) {
				return
			}
			items = items[n:]
		}
	}
}

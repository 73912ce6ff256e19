//go:build !linux && !darwin

package app

import "math"

// freeBytes is the free room on the disk of a folder. It is unknown here.
func freeBytes(string) int64 { return math.MaxInt64 }

// openFiles is the maximum number of files that this process may have open: these systems have no
// low limit.
func openFiles() uint64 { return math.MaxInt32 }

//go:build !unix

package app

import "math"

// openFiles is the maximum number of files that this process may have open: these systems have no
// low limit.
func openFiles() uint64 { return math.MaxInt32 }

//go:build unix

package app

import (
	"math"
	"syscall"
)

// openFiles is the maximum number of files that this process may have open. Go has raised the soft
// limit to the hard one at start.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return min(uint64(limit.Cur), math.MaxInt32) //nolint:unconvert // its type differs between systems
}

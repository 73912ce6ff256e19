//go:build linux || darwin

package app

import (
	"math"
	"syscall"
)

// freeBytes is the free room on the disk of a folder. Where it is unknown, room is no problem.
func freeBytes(dir string) int64 {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return math.MaxInt64
	}
	return int64(disk.Bavail) * int64(disk.Bsize) //nolint:gosec,unconvert // their types differ between systems
}

// openFiles is the maximum number of files that this process may have open. Go has raised the soft
// limit to the hard one at start.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return min(limit.Cur, math.MaxInt32)
}

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

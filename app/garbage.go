package app

import (
	"os"
	"runtime/debug"
)

const (
	// gcPercent is GOGC: the heap may grow to four times the live heap. A server with few
	// connections has some 4 MiB live, and would collect twelve times a second by default
	// (docs/performance.md).
	gcPercent = 300
	// memoryLimit is GOMEMLIMIT in bytes. Near it the collector runs more often. With 320 MiB the
	// process passes 384 MiB, its documented maximum, under the worst input (bench row
	// memory/flood).
	memoryLimit = 288 << 20
)

// setGarbageCollection sets the collector, unless the environment does.
func setGarbageCollection() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

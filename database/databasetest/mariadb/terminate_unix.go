//go:build unix

package databasetest

import (
	"os"
	"syscall"
)

// terminate asks a process to shut down.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

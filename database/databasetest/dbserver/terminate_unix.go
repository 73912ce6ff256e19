//go:build unix

package dbserver

import (
	"os"
	"syscall"
)

// terminate asks a process to shut down.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

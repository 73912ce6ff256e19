//go:build !unix

package dbserver

import "os"

// terminate asks a process to shut down; this system has no such request.
func terminate(p *os.Process) error { return p.Kill() }

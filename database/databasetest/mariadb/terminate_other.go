//go:build !unix

package databasetest

import "os"

// terminate asks a process to shut down; here there is no asking.
func terminate(p *os.Process) error { return p.Kill() }

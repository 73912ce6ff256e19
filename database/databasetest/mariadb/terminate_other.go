//go:build !unix

package mariadb

import "os"

// terminate asks a process to shut down; here there is no asking.
func terminate(p *os.Process) error { return p.Kill() }

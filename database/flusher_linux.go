package database

import (
	"errors"
	"os"
	"syscall"

	"modernc.org/sqlite"
)

// A flusher brings what was written to a file to the disk, beside whoever writes on.
type flusher struct {
	file *os.File // nil: it does nothing
}

// openFlusher opens one for an embedded engine's file. It does nothing where that would be unsafe: a process loses the locks
// that SQLite holds on a file when it closes the same file elsewhere, unless they are of the kind that OFDLocking turns on.
func openFlusher(path string) (flusher, error) {
	if !sqlite.OFDLockingEnabled() {
		return flusher{}, nil
	}
	file, err := os.Open(path)
	return flusher{file: file}, err
}

// flush blocks until all that was written to the file when it began is on the disk.
func (f flusher) flush() error {
	if f.file == nil {
		return nil
	}
	for {
		if err := syscall.Fdatasync(int(f.file.Fd())); err != syscall.EINTR {
			return err
		}
	}
}

// close closes the file. A repeat is harmless.
func (f flusher) close() error {
	if f.file == nil {
		return nil
	}
	if err := f.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

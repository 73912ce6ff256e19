package database

import (
	"errors"
	"os"
	"syscall"

	"modernc.org/sqlite"
)

// A sideFile is the embedded engine's file as the system has it, beside SQLite, which has it open as well.
type sideFile struct {
	path string
	file *os.File // nil: it is not flushed
}

// openSideFile opens the file at path. It is not flushed where that would be unsafe: a process loses the locks that SQLite holds on a
// file when it closes the same file elsewhere, unless they are of the kind that OFDLocking turns on.
func openSideFile(path string) (sideFile, error) {
	if !sqlite.OFDLockingEnabled() {
		return sideFile{path: path}, nil
	}
	file, err := os.Open(path)
	return sideFile{path, file}, err
}

// flush blocks until all that was written to the file when it began is on the disk.
func (f sideFile) flush() error {
	if f.file == nil {
		return nil
	}
	for {
		if err := syscall.Fdatasync(int(f.file.Fd())); err != syscall.EINTR {
			return err
		}
	}
}

// tellsRoom: hasRoom knows.
const tellsRoom = true

// hasRoom reports whether so many bytes can still be written to the file's disk.
func (f sideFile) hasRoom(bytes uint64) bool {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(f.path, &disk); err != nil {
		return true // whoever writes will see
	}
	return disk.Bavail*uint64(disk.Bsize) >= bytes //nolint:gosec // a block has a size
}

// close closes the file. A repeat is harmless.
func (f sideFile) close() error {
	if f.file == nil {
		return nil
	}
	if err := f.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

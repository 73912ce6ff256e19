//go:build !linux

package database

// A sideFile does nothing here: see that of Linux. SQLite itself flushes what it copies, then with transactions waiting.
type sideFile struct{}

func openSideFile(string) (sideFile, error) { return sideFile{}, nil }

func (sideFile) flush() error { return nil }

// tellsRoom: hasRoom does not know.
const tellsRoom = false

func (sideFile) hasRoom(uint64) bool { return true }

func (sideFile) close() error { return nil }

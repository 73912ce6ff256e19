package reference

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/gofrs/flock"
)

// ledger is an append-only file of JSON lines, which one process at a time has open.
type ledger struct {
	file   *os.File
	flush  func() error // file.Sync, except in tests
	lock   *flock.Flock
	failed error        // of the first write that failed: the file's content is unknown since
	close  func() error // closes and unlocks the file: later appends fail; a repeat is harmless
}

// openLedger locks the file, calls apply with each of its payments, and cuts off a torn last line.
func openLedger(path string, apply func(Payment) error) (*ledger, error) {
	l := &ledger{lock: flock.New(path + ".lock")}
	locked, err := l.lock.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock it: %w", err)
	case !locked:
		return nil, errors.New("another process has it open")
	}
	l.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errors.Join(err, l.lock.Unlock())
	}
	l.flush = l.file.Sync
	l.close = sync.OnceValue(func() error { return errors.Join(l.file.Close(), l.lock.Unlock()) })
	if err := l.load(apply); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *ledger) load(apply func(Payment) error) error {
	reader := bufio.NewReader(l.file)
	var whole int64 // bytes of whole lines
	for number := 1; ; number++ {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // a line without an end was being written when the process died
		}
		if err != nil {
			return fmt.Errorf("read line %d: %w", number, err)
		}
		var payment Payment
		if err := json.Unmarshal(line, &payment, json.RejectUnknownMembers(true)); err != nil {
			return fmt.Errorf("line %d is damaged: %w", number, err)
		}
		if err := apply(payment); err != nil {
			return fmt.Errorf("line %d is damaged: %w", number, err)
		}
		whole += int64(len(line))
	}
	if err := l.file.Truncate(whole); err != nil {
		return fmt.Errorf("cut off a torn line: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(l.file.Name()))
}

// syncFolder makes a new file's name as durable as its content.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// append writes and flushes a line. After one failure every later append fails too, until the file
// is opened again.
func (l *ledger) append(payment Payment) error {
	if l.failed != nil {
		return l.failed
	}
	line, err := json.Marshal(payment)
	if err != nil {
		return err
	}
	if _, l.failed = l.file.Write(append(line, '\n')); l.failed == nil {
		l.failed = l.flush()
	}
	return l.failed
}

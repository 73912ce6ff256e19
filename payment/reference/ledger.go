package reference

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

var (
	errClosed = errors.New("the ledger is closed")
	errInUse  = errors.New("another process has it open")
)

// The kinds of event.
const (
	eventApproved = "approved"
	eventDeclined = "declined"
	eventVoided   = "voided"
	eventRefunded = "refunded"
)

// event is one line of the file.
type event struct {
	CheckoutID string    `json:"checkoutID"`
	Kind       string    `json:"event"`
	ClientID   string    `json:"clientID,omitempty"`
	Reference  string    `json:"reference,omitempty"`
	Items      []Item    `json:"items,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	At         time.Time `json:"at"`
}

func (e event) line() ([]byte, error) {
	line, err := json.Marshal(e)
	return append(line, '\n'), err
}

// ledger is an append-only file of JSON lines. What comes in while one flush runs shares the next.
type ledger struct {
	file  *os.File
	flush func() error // file.Sync, but for tests
	lock  *flock.Flock
	kick  chan struct{} // one place: tells the writer that there is a batch
	done  chan struct{} // closed when the writer has ended

	mu     sync.Mutex
	next   *batch // gathers lines; guarded by mu
	closed bool   // guarded by mu

	closing  sync.Once
	closeErr error // set in closing
}

// batch is lines that are flushed together. Nil stands for what was in the file from the start.
type batch struct {
	lines []byte        // the ledger's, under its lock, until the writer takes the batch
	done  chan struct{} // closed when the batch is flushed or has failed
	err   error         // set before done is closed
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// wait returns when the batch is on disk, or with the reason why it may not be.
func (b *batch) wait() error {
	if b == nil {
		return nil
	}
	<-b.done
	return b.err
}

// openLedger locks the file, calls apply with each of its events, cuts off a torn last line, and
// starts the writer.
func openLedger(path string, apply func(event) error) (*ledger, error) {
	l := &ledger{
		lock: flock.New(path + ".lock"),
		kick: make(chan struct{}, 1),
		done: make(chan struct{}),
		next: newBatch(),
	}
	locked, err := l.lock.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock it: %w", err)
	case !locked:
		return nil, errInUse
	}
	l.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = l.load(path, apply)
	}
	if err != nil {
		if l.file != nil {
			err = errors.Join(err, l.file.Close())
		}
		return nil, errors.Join(err, l.lock.Unlock())
	}
	l.flush = l.file.Sync
	go l.write()
	return l, nil
}

func (l *ledger) load(path string, apply func(event) error) error {
	reader := bufio.NewReader(l.file)
	var whole int64 // bytes of whole lines
	for number := 1; ; number++ {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // what has no line end was being written when the process died
		}
		if err != nil {
			return fmt.Errorf("read line %d: %w", number, err)
		}
		var happened event
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&happened); err != nil {
			return fmt.Errorf("line %d is damaged: %w", number, err)
		}
		if err := apply(happened); err != nil {
			return fmt.Errorf("line %d is damaged: %w", number, err)
		}
		whole += int64(len(line))
	}
	if err := l.file.Truncate(whole); err != nil {
		return fmt.Errorf("cut off a torn line: %w", err)
	}
	if _, err := l.file.Seek(whole, io.SeekStart); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a new file's name as durable as its content.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// append adds a line to the next batch and returns it. It does not block on the disk.
func (l *ledger) append(line []byte) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		refused := newBatch()
		refused.err = errClosed
		close(refused.done)
		return refused
	}
	l.next.lines = append(l.next.lines, line...)
	select {
	case l.kick <- struct{}{}:
	default:
	}
	return l.next
}

// write is the writer's goroutine: it owns the file until close. After a failed write or flush
// nobody knows what the file holds, so everything later fails too, until the file is opened again.
func (l *ledger) write() {
	defer close(l.done)
	var failed error
	for range l.kick {
		l.mu.Lock()
		taken := l.next
		l.next = newBatch()
		l.mu.Unlock()
		if failed == nil && len(taken.lines) > 0 {
			if _, failed = l.file.Write(taken.lines); failed == nil {
				failed = l.flush()
			}
		}
		taken.lines = nil // the payments keep their batches
		taken.err = failed
		close(taken.done)
	}
}

// close flushes what was accepted and lets go of the file.
func (l *ledger) close() error {
	l.closing.Do(func() {
		l.mu.Lock()
		l.closed = true
		close(l.kick) // append sends only under the lock, and no more once closed
		l.mu.Unlock()
		<-l.done
		l.closeErr = errors.Join(l.file.Close(), l.lock.Unlock())
	})
	return l.closeErr
}

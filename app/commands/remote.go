package commands

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cartwheel/database"
)

// socketName is the server's socket in the data directory. The server begins with its version, the
// client with its command, as gob values. After that either sends messages.
const socketName = "cartwheel.sock"

// maxSocketPath is the maximum length of a socket's path: macOS has 104 bytes for it and Linux 108,
// with a zero at the end.
const maxSocketPath = 103

// atSocket calls use with the path of the socket in dir. A path that is too long goes through a
// symbolic link that exists during the call.
func atSocket(dir string, use func(path string) error) error {
	path := filepath.Join(dir, socketName)
	if len(path) <= maxSocketPath {
		return use(path)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	temporary, err := os.MkdirTemp("", "cartwheel-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	link := filepath.Join(temporary, "data")
	if err := os.Symlink(dir, link); err != nil {
		return err
	}
	return use(filepath.Join(link, socketName))
}

// A dbCommand may write the database. On the embedded engine the process that has the data
// directory then runs it: the server, if there is one.
type dbCommand interface {
	runOn(ctx context.Context, console Console, db *database.DB) error
}

func init() {
	for _, command := range []dbCommand{StockImport{}, checkoutsPruneCommand{}, eventsReplayCommand{}, &Audit{}, migrateUpCommand{}} {
		gob.Register(command)
	}
}

// A message is a part of the command's input or output.
type message struct {
	Stream int // 0: standard input or output, 1: standard error, 2: rejects
	Text   []byte
	Ended  bool   // the input or the command
	Err    string // why it ended
}

// failure returns the error that the other process had.
func (m message) failure() error {
	switch m.Err {
	case "":
		return nil
	case ErrReported.Error():
		return ErrReported
	}
	return errors.New(m.Err)
}

// An outbox sends messages to the other process.
type outbox struct {
	mu      sync.Mutex
	encoder *gob.Encoder // guarded by mu
}

func (o *outbox) send(m message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.encoder.Encode(m)
}

func (o *outbox) end(err error) {
	m := message{Ended: true}
	if err != nil {
		m.Err = err.Error()
	}
	_ = o.send(m) // the other process may have gone
}

// A stream is one of the other process's streams.
type stream struct {
	*outbox
	number int
}

func (s stream) Write(text []byte) (int, error) {
	return len(text), s.send(message{Stream: s.number, Text: text})
}

// forward has the server in dir run a command, and blocks until it has ended. found is false when
// no server listens.
func forward(ctx context.Context, dir string, console Console, command dbCommand) (found bool, err error) {
	var conn net.Conn
	err = atSocket(dir, func(path string) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	if err != nil {
		return false, nil // opening the file reports what is wrong with the directory
	}
	socket := conn.(*net.UnixConn)
	defer func() { _ = socket.Close() }()
	hung := time.AfterFunc(commandPatience, func() { _ = socket.Close() })
	to, from := &outbox{encoder: gob.NewEncoder(socket)}, gob.NewDecoder(socket)
	var version string
	if err := from.Decode(&version); err != nil {
		return true, fmt.Errorf("the server in %s does not answer: %w", dir, err)
	}
	hung.Stop()
	if version != BuildVersion() {
		return true, fmt.Errorf("the server in %s has the version %s, this command %s: use the same", dir, version, BuildVersion())
	}
	if err := to.encoder.Encode(&command); err != nil {
		return true, err
	}
	if _, reads := command.(StockImport); reads {
		go func() {
			_, err := io.Copy(stream{to, 0}, console.In)
			to.end(err)
		}()
	}
	cancel := func() { _ = socket.CloseWrite() }
	defer context.AfterFunc(ctx, cancel)()
	return true, show(from, console, cancel)
}

// show writes what the command prints to the console, and returns its error. It cancels the command
// when the console fails.
func show(from *gob.Decoder, console Console, cancel func()) (failure error) {
	for {
		var m message
		if err := from.Decode(&m); err != nil {
			return errors.Join(failure, fmt.Errorf("the server ended before the command: %w", err))
		}
		if m.Ended {
			return errors.Join(failure, m.failure())
		}
		_, err := []io.Writer{console.Out, console.Err, console.Rejects}[m.Stream].Write(m.Text)
		if err != nil && m.Stream != 1 && failure == nil {
			failure = err
			cancel()
		}
	}
}

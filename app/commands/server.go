package commands

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"cartwheel/database"
)

const (
	// maxCommands is the maximum number of commands that a server runs at once.
	maxCommands = 4
	// requestTimeout is the maximum time for a client to send its command.
	requestTimeout = 5 * time.Second
	// cancelledTimeout is the maximum time for the last answers of cancelled commands. A stalled
	// client must not delay the drain.
	cancelledTimeout = time.Second
	// acceptRetry is the pause after a connection that could not be accepted.
	acceptRetry = 100 * time.Millisecond
)

// A Server runs the writing commands of other processes on the server's database.
type Server struct {
	db       *database.DB
	log      *slog.Logger
	path     string // of the socket
	listener net.Listener
	cancel   context.CancelFunc
	running  *semaphore.Weighted
	tasks    sync.WaitGroup // its goroutines
}

// Listen starts to run commands on db, whose data directory is locked. The socket of a killed
// server is replaced.
func Listen(ctx context.Context, db *database.DB, log *slog.Logger) (*Server, error) {
	s := &Server{db: db, log: log, path: filepath.Join(filepath.Dir(db.Path()), socketName), running: semaphore.NewWeighted(maxCommands)}
	_ = os.Remove(s.path) // Listen reports what is wrong
	err := atSocket(filepath.Dir(s.path), func(path string) (err error) {
		s.listener, err = (&net.ListenConfig{}).Listen(ctx, "unix", path)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.listener.(*net.UnixListener).SetUnlinkOnClose(false) // its path may be gone by then
	if err := os.Chmod(s.path, 0o600); err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.tasks.Go(func() { s.accept(ctx) })
	return s, nil
}

// Close removes the socket, cancels the commands and waits for their end.
func (s *Server) Close() error {
	s.cancel()
	err := errors.Join(os.Remove(s.path), s.listener.Close())
	s.tasks.Wait()
	return err
}

func (s *Server) accept(ctx context.Context) {
	for {
		socket, err := s.listener.Accept()
		switch {
		case err == nil:
			s.tasks.Go(func() { s.serve(ctx, socket) })
		case errors.Is(err, net.ErrClosed):
			return
		default: // too many open files
			<-time.After(acceptRetry)
		}
	}
}

// serve runs the command of one client. It cancels the command when the client closes its side of
// the connection, which is not the end of the command's input.
func (s *Server) serve(ctx context.Context, socket net.Conn) {
	defer func() { _ = socket.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, input := io.Pipe()
	context.AfterFunc(ctx, func() {
		_ = input.CloseWithError(ctx.Err())
		_ = socket.SetDeadline(time.Now().Add(cancelledTimeout))
	})
	silent := time.AfterFunc(requestTimeout, cancel)
	to, from := &outbox{encoder: gob.NewEncoder(socket)}, gob.NewDecoder(socket)
	var command dbCommand
	if to.encoder.Encode(BuildVersion()) != nil || from.Decode(&command) != nil {
		return // the client has another version, or has gone
	}
	silent.Stop()
	s.tasks.Go(func() {
		defer cancel()
		receive(from, input)
	})
	to.end(s.run(ctx, command, Console{In: in, Out: stream{to, 0}, Err: stream{to, 1}, Rejects: stream{to, 2}}))
}

// receive passes the client's input on until the client stops sending.
func receive(from *gob.Decoder, input *io.PipeWriter) {
	for {
		var m message
		if from.Decode(&m) != nil {
			return
		}
		_, _ = input.Write(m.Text) // it fails when the command has ended
		if m.Ended {
			_ = input.CloseWithError(m.failure())
		}
	}
}

func (s *Server) run(ctx context.Context, command dbCommand, console Console) (err error) {
	if !s.running.TryAcquire(1) {
		return fmt.Errorf("%d commands are running: try again later", maxCommands)
	}
	defer s.running.Release(1)
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a command panicked", "error", p, "stack", string(debug.Stack()))
			err = errors.New("the command panicked: see the server's log")
		}
	}()
	return command.runOn(ctx, console, s.db)
}

package commands

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
	"cartwheel/migrations"
)

// TestMain finds goroutines that the tests leave behind.
func TestMain(m *testing.M) { os.Exit(databasetest.Main(m)) }

const header = "product_id,product_name,quantity\n"

// serve returns the directory of a server that runs commands, and its database.
func serve(t *testing.T) (dir string, db *database.DB, server *Server) {
	t.Helper()
	dir = t.TempDir()
	db = databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
	if _, err := migrations.Up(t.Context(), db, databasetest.Log(t)); err != nil {
		t.Fatal(err)
	}
	return dir, db, listen(t, db)
}

func listen(t *testing.T, db *database.DB) *Server {
	t.Helper()
	server, err := Listen(t.Context(), db, databasetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server
}

func importing(dir string) StockImport {
	return StockImport{Storage: Storage{DataDir: dir}, File: "-", Delimiter: ","}
}

func onHand(t *testing.T, db *database.DB) (units int64) {
	t.Helper()
	if err := inventory.New(db).List(t.Context(), func(p inventory.Product) error {
		units += p.OnHand
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return units
}

func TestServer_runsTheCommandOfAnotherProcess(t *testing.T) {
	t.Parallel()
	dir, db, server := serve(t)
	var out, said bytes.Buffer
	c := importing(dir)
	c.Rejects = filepath.Join(t.TempDir(), "rejects.csv")
	if err := os.WriteFile(c.Rejects, []byte(strings.Repeat("of an earlier run\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	err := c.Run(t.Context(), Console{In: strings.NewReader(header + "mug,Mug,7\ntea,Tea,some\n"), Out: &out, Err: &said})
	if !errors.Is(err, ErrReported) || !strings.HasPrefix(out.String(), "2 rows: 1 created") ||
		said.String() != "line 3: quantity: want an integer, got \"some\"\n" {
		t.Errorf("error %v, printed %s%s", err, &out, &said)
	}
	rejects, err := os.ReadFile(c.Rejects)
	want := "product_id,product_name,quantity,reason\ntea,Tea,some,\"quantity: want an integer, got \"\"some\"\"\"\n"
	if err != nil || string(rejects) != want {
		t.Errorf("rejects %s, error %v, want %s", rejects, err, want)
	}
	if n := onHand(t, db); n != 7 {
		t.Errorf("%d on hand, want 7", n)
	}
	for _, command := range []interface {
		Run(context.Context, Console) error
	}{
		checkoutsPruneCommand{Storage: c.Storage, OlderThan: age(90 * 24 * time.Hour)},
		eventsReplayCommand{Storage: c.Storage, Since: age(time.Hour)},
		&Audit{Storage: c.Storage, Repair: true},
		migrateUpCommand{Storage: c.Storage},
	} {
		var in unread
		if err := command.Run(t.Context(), Console{In: in, Out: &out, Err: &said}); err != nil {
			t.Errorf("%T: %v", command, err)
		}
	}
	err = c.Run(t.Context(), Console{In: io.MultiReader(strings.NewReader(header+"mug,Mug,8\nmug"), broken{}), Out: &out, Err: &said})
	if err == nil || !strings.Contains(err.Error(), "broken input") || onHand(t, db) != 7 {
		t.Errorf("%d on hand after an input that breaks off, error %v", onHand(t, db), err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, socketName)); !os.IsNotExist(err) {
		t.Errorf("the socket is left, error %v", err)
	}
}

// unread is the input of a command that has none: a script's loop may read it.
type unread struct{}

func (unread) Read([]byte) (int, error) { panic("the command reads its standard input") }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken input") }

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken output") }

// slowRows is more than an import decides at once.
const slowRows = 3000

func rows(prefix string) string {
	var text strings.Builder
	for i := range slowRows {
		fmt.Fprintf(&text, "%s%d,,1\n", prefix, i)
	}
	return text.String()
}

// slowInput begins a file and then sends nothing until the test ends.
func slowInput(t *testing.T) (in io.Reader, begun <-chan struct{}) {
	t.Helper()
	reader, writer := io.Pipe()
	t.Cleanup(func() { _ = writer.Close() })
	read := make(chan struct{})
	go func() {
		_, _ = io.WriteString(writer, header+rows("p"))
		close(read)
	}()
	return reader, read
}

func TestServer_interruptedCommandSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	for name, interrupt := range map[string]func(cancel func(), server *Server){
		"by its client":    func(cancel func(), _ *Server) { cancel() },
		"by the shut-down": func(_ func(), server *Server) { _ = server.Close() },
	} {
		dir, db, server := serve(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		in, begun := slowInput(t)
		failed := make(chan error, 1)
		go func() { failed <- importing(dir).Run(ctx, Console{In: in, Out: io.Discard, Err: io.Discard}) }()
		<-begun
		databasetest.Eventually(t, 10*time.Second, "the first rows are imported", func() bool { return onHand(t, db) > 0 })
		interrupt(cancel, server)
		select {
		case err := <-failed:
			if err == nil || !strings.Contains(err.Error(), "interrupted: the lines up to ") {
				t.Errorf("interrupted %s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("interrupted %s: the command runs on", name)
		}
	}
}

// A stalled console is a terminal after Ctrl-S.
type stalled struct{ released chan struct{} }

func (s stalled) Write(text []byte) (int, error) {
	<-s.released
	return len(text), nil
}

func TestServer_stalledTerminalDoesNotDelayTheShutdown(t *testing.T) {
	t.Parallel()
	dir, _, server := serve(t)
	terminal := stalled{make(chan struct{})}
	endless, ended := make(chan error, 1), sync.OnceFunc(func() { close(terminal.released) })
	t.Cleanup(ended)
	reader, writer := io.Pipe()
	full := make(chan struct{})
	go func() {
		_, _ = io.WriteString(writer, header)
		for timeout := time.AfterFunc(2*time.Second, sync.OnceFunc(func() { close(full) })); ; {
			if _, err := io.WriteString(writer, strings.Repeat("bad\n", 1000)); err != nil {
				timeout.Stop()
				return
			}
			timeout.Reset(2 * time.Second) // until the server takes no more
		}
	}()
	go func() {
		endless <- importing(dir).Run(t.Context(), Console{In: reader, Out: io.Discard, Err: terminal})
	}()
	<-full
	began := time.Now()
	time.AfterFunc(4*cancelledTimeout, ended) // for a shut-down that waits for it
	_ = server.Close()
	if took := time.Since(began); took > 3*cancelledTimeout {
		t.Errorf("the shut-down took %v", took)
	}
	ended()
	if err := <-endless; err == nil {
		t.Error("the command succeeded")
	}
	_ = reader.Close()
}

func TestServer_boundsTheCommandsThatRunAtOnce(t *testing.T) {
	t.Parallel()
	dir, db, _ := serve(t)
	var running sync.WaitGroup
	var writers []*io.PipeWriter
	for i := range maxCommands {
		reader, writer := io.Pipe()
		writers = append(writers, writer)
		running.Go(func() {
			if err := importing(dir).Run(t.Context(), Console{In: reader, Out: io.Discard, Err: io.Discard}); err != nil {
				t.Error(err)
			}
		})
		if _, err := io.WriteString(writer, header+rows(fmt.Sprintf("of-%d-", i))); err != nil {
			t.Fatal(err)
		}
		before := onHand(t, db)
		databasetest.Eventually(t, 10*time.Second, "one more runs", func() bool { return onHand(t, db) > before })
	}
	err := importing(dir).Run(t.Context(), Console{In: strings.NewReader(header), Out: io.Discard, Err: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "4 commands are running") {
		t.Errorf("one more: %v", err)
	}
	for _, writer := range writers {
		_ = writer.Close()
	}
	running.Wait()
	if n := onHand(t, db); n != maxCommands*slowRows {
		t.Errorf("%d on hand, want that of %d imports", n, maxCommands)
	}
}

func TestServer_socketOfAKilledServerIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	killed, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	killed.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = killed.Close()
	run := func() {
		t.Helper()
		if err := importing(dir).Run(t.Context(), Console{In: strings.NewReader(header + "mug,,7\n"), Out: io.Discard, Err: io.Discard}); err != nil {
			t.Error(err)
		}
	}
	run() // nobody listens: it opens the file itself
	db := databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
	listen(t, db)
	run()
	if info, err := os.Stat(filepath.Join(dir, socketName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, error %v", info, err)
	}
}

// A socket's own path may have some 100 bytes.
func TestServer_longPathOfTheDataDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	db := databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
	if _, err := migrations.Up(t.Context(), db, databasetest.Log(t)); err != nil {
		t.Fatal(err)
	}
	server := listen(t, db)
	if err := importing(dir).Run(t.Context(), Console{In: strings.NewReader(header + "mug,,7\n"), Out: io.Discard, Err: io.Discard}); err != nil {
		t.Error(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, socketName)); !os.IsNotExist(err) {
		t.Errorf("the socket is left, error %v", err)
	}
}

func TestStorage_lockedDirectoryWithoutAServerIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
	began := time.Now()
	err := importing(dir).Run(t.Context(), Console{In: strings.NewReader(header), Out: io.Discard, Err: io.Discard})
	if took := time.Since(began); !errors.Is(err, database.ErrDataDirLocked) || took < commandPatience || took > 2*commandPatience {
		t.Errorf("after %v: %v", took, err)
	}
	failed := make(chan error, 1)
	go func() {
		failed <- importing(dir).Run(t.Context(), Console{In: strings.NewReader(header), Out: io.Discard, Err: io.Discard})
	}()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err != nil {
		t.Errorf("once the directory is free: %v", err)
	}
}

func TestServer_commandWhoseConsoleFailsIsCancelled(t *testing.T) {
	t.Parallel()
	dir, _, _ := serve(t)
	bad, input := io.Pipe()
	go func() { // until the command is cancelled
		for text := header; ; text = strings.Repeat("bad\n", 1000) {
			if _, err := io.WriteString(input, text); err != nil {
				return
			}
		}
	}()
	c := importing(dir)
	err := c.writing(t.Context(), Console{In: bad, Out: io.Discard, Err: io.Discard, Rejects: broken{}}, c, database.Config{})
	_ = bad.Close()
	if err == nil || !strings.Contains(err.Error(), "broken output") {
		t.Error(err)
	}
}

func TestStorage_serverOfAnotherVersionIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	go func() {
		if socket, err := other.Accept(); err == nil {
			_ = gob.NewEncoder(socket).Encode("v0.0.1")
			_ = socket.Close()
		}
	}()
	err = importing(dir).Run(t.Context(), Console{In: strings.NewReader(header), Out: io.Discard, Err: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "has the version v0.0.1") {
		t.Error(err)
	}
}

type panicking struct{ N int }

func (panicking) runOn(context.Context, Console, *database.DB) error { panic("as expected") }

func TestServer_survivesACommandThatPanics(t *testing.T) {
	t.Parallel()
	gob.Register(panicking{})
	dir, _, _ := serve(t)
	for range maxCommands + 1 {
		served, err := forward(t.Context(), dir, Console{}, panicking{})
		if !served || err == nil || !strings.Contains(err.Error(), "panicked") {
			t.Errorf("served %v, error %v", served, err)
		}
	}
}

// A stopped server's socket accepts connections.
func TestStorage_stoppedServerIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stopped, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stopped.Close() })
	began := time.Now()
	err = importing(dir).Run(t.Context(), Console{In: strings.NewReader(header), Out: io.Discard, Err: io.Discard})
	if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "does not answer") || took > 2*commandPatience {
		t.Errorf("after %v: %v", took, err)
	}
}

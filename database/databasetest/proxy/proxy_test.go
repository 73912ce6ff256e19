package proxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/proxy"
)

func TestMain(m *testing.M) { os.Exit(databasetest.Main(m)) }

// packet is a packet of the protocol.
func packet(sequence byte, payload []byte) []byte {
	n := len(payload)
	return append([]byte{byte(n), byte(n >> 8), byte(n >> 16), sequence}, payload...)
}

func query(sql string) []byte { return packet(0, append([]byte{3}, sql...)) }

// setup returns a proxy, a client's connection to it, and the server's side of that connection.
func setup(t *testing.T) (p *proxy.Proxy, client, server net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed(t, listener)
	if p, err = proxy.Listen(listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	closed(t, p)
	if client, err = net.Dial("tcp", p.Address()); err != nil {
		t.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{client, server} {
		closed(t, conn)
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return p, client, server
}

func closed(t *testing.T, closer io.Closer) {
	t.Cleanup(func() {
		if err := closer.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

func send(t *testing.T, to net.Conn, packets ...[]byte) {
	t.Helper()
	if _, err := to.Write(bytes.Join(packets, nil)); err != nil {
		t.Fatal(err)
	}
}

// arrives checks that bytes come, all and as they were.
func arrives(t *testing.T, at net.Conn, packets ...[]byte) {
	t.Helper()
	want := bytes.Join(packets, nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(at, got); err != nil {
		t.Fatalf("what was sent did not come: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes did not come as they were sent", len(want))
	}
}

// isCut checks that a connection ends without another byte.
func isCut(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is not cut: %d bytes, error %v", n, err)
	}
}

var ok = packet(1, []byte{0, 0, 0, 2, 0, 0, 0})

func TestProxy_passesOtherStatements(t *testing.T) {
	t.Parallel()
	p, client, server := setup(t)
	p.Decide(func(int) proxy.Fate { return proxy.CutBefore() })
	large := bytes.Repeat([]byte("COMMIT"), 1<<22)
	for _, packets := range [][][]byte{
		{packet(1, []byte("\x03COMMIT"))}, // of the handshake
		{query("SELECT 'COMMIT'")},
		{query("COMMIT AND CHAIN")},
		{packet(0, []byte("\x16COMMIT"))}, // a COM_STMT_PREPARE
		{packet(0, nil)},
		{packet(0, append([]byte{3}, large[:1<<24-2]...)), packet(0, []byte("\x03COMMIT"))}, // the second goes on with the first
	} {
		sent := make(chan error, 1)
		go func() {
			_, err := client.Write(bytes.Join(packets, nil))
			sent <- err
		}()
		arrives(t, server, packets...)
		if err := <-sent; err != nil {
			t.Error(err)
		}
		send(t, server, ok)
		arrives(t, client, ok)
	}
	if got, want := p.Counts(), (proxy.Counts{Connections: 1, Statements: 3}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestProxy_losesChosenCommits(t *testing.T) {
	t.Parallel()
	commits := [][]byte{query("COMMIT"), query("commit"), query(" Commit ;")}
	for _, commit := range commits {
		p, client, server := setup(t)
		send(t, client, commit)
		arrives(t, server, commit)
		send(t, server, ok)
		arrives(t, client, ok)

		p.Next(proxy.CutAfter())
		send(t, client, commit)
		arrives(t, server, commit)
		if counts := p.Counts(); counts.CutAfter != 0 {
			t.Errorf("counted %+v before the server answered", counts)
		}
		send(t, server, ok)
		isCut(t, client)
		isCut(t, server)
		if got, want := p.Counts(), (proxy.Counts{Connections: 1, Statements: 2, Commits: 2, CutAfter: 1}); got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	}

	p, client, server := setup(t)
	p.Decide(func(commit int) proxy.Fate {
		if commit == 2 {
			return proxy.CutBefore()
		}
		return proxy.Deliver()
	})
	send(t, client, commits[0])
	arrives(t, server, commits[0])
	send(t, server, ok)
	arrives(t, client, ok)
	send(t, client, commits[0])
	isCut(t, server)
	isCut(t, client)
	if got, want := p.Counts(), (proxy.Counts{Connections: 1, Statements: 2, Commits: 2, CutBefore: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestProxy_delayedCommitArrivesAfterItsClientLeft(t *testing.T) {
	t.Parallel()
	p, client, server := setup(t)
	release := make(chan struct{})
	p.Next(proxy.Hold(release))
	commit := query("COMMIT")
	send(t, client, commit)
	isCut(t, client)
	p.Away(true) // even so
	close(release)
	arrives(t, server, commit)
	send(t, server, ok)
	isCut(t, server)
	if got, want := p.Counts(), (proxy.Counts{Connections: 1, Statements: 1, Commits: 1, Held: 1, HeldAnswered: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestProxy_closeDropsDelayedCommits(t *testing.T) {
	t.Parallel()
	p, client, server := setup(t)
	p.Next(proxy.Hold(make(chan struct{})))
	send(t, client, query("COMMIT"))
	isCut(t, client)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	isCut(t, server)
}

func TestProxy_serverThatIsDownRefusesClients(t *testing.T) {
	t.Parallel()
	p, client, server := setup(t)
	send(t, client, query("SELECT 1"))
	arrives(t, server, query("SELECT 1"))
	p.Away(true)
	isCut(t, client)
	isCut(t, server)
	again, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	closed(t, again)
	isCut(t, again)
	if got, want := p.Counts(), (proxy.Counts{Connections: 1, Statements: 1, Refused: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestProxy_silentServerReceivesButDoesNotAnswer(t *testing.T) {
	t.Parallel()
	p, client, server := setup(t)
	p.Silence(true)
	send(t, client, query("SELECT 1"))
	arrives(t, server, query("SELECT 1"))
	send(t, server, ok)
	if err := client.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent server was heard: %d bytes, error %v", n, err)
	}
	if err := client.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	p.Silence(false)
	arrives(t, client, ok)
}

func TestProxy_clientMayLeaveASilentServer(t *testing.T) {
	t.Parallel()
	p, client, server := setup(t)
	p.Silence(true)
	send(t, server, ok)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	isCut(t, server)
	if err := p.Close(); err != nil { // which waits for all that runs
		t.Error(err)
	}
}

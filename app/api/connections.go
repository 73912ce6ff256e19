package api

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// MaxConnections is the maximum number of open API connections. Each costs about 20 KiB: 160
	// MiB in all.
	MaxConnections = 8192

	// maxRefusing is the maximum number of refused connections that are given time to read the
	// answer.
	maxRefusing = 32

	// refusalTimeout is how long a refused caller has to read the answer.
	refusalTimeout = time.Second

	// othersShare is the part of the connections that one address cannot take: one in eight. Behind
	// a proxy all connections have its address.
	othersShare = 8
)

// LimitConnections bounds the open connections of l, a TCP listener, in all and per client address.
// A caller over the limit reads a 503 and is disconnected.
func LimitConnections(l net.Listener, limit int) *ConnectionLimit {
	body := render(answer{statusFailed, "too many connections, nothing was done: try again"})
	head := fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n%s: %s\r\n"+
		"Content-Length: %d\r\nRetry-After: %d\r\nConnection: close\r\n\r\n", headerError, codeBusy, len(body), retrySoon)
	limited := &ConnectionLimit{
		Listener:   l,
		Limit:      limit,
		perAddress: limit - limit/othersShare,
		refusal:    append([]byte(head), body...),
		byAddress:  map[netip.Addr]int{},
	}
	limited.refusing.SetLimit(maxRefusing)
	return limited
}

// A ConnectionLimit is a listener with a bounded number of open connections.
type ConnectionLimit struct {
	net.Listener

	Limit      int // the maximum number of open connections
	perAddress int
	refusal    []byte
	refusing   errgroup.Group // a goroutine for each refused connection that is still open

	mu        sync.Mutex
	open      int                // guarded by mu
	byAddress map[netip.Addr]int // open connections; guarded by mu
	refused   int64              // since the start; guarded by mu
}

// Stats returns the number of open connections, and of connections refused since the start.
func (l *ConnectionLimit) Stats() (open int, refused int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.refused
}

// Accept returns the next connection within the limits, and refuses those over them.
func (l *ConnectionLimit) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp := conn.(*net.TCPConn)
		addr := clientNetwork(tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
		if l.acquire(addr) {
			return &limitedConn{tcp, sync.OnceFunc(func() { l.release(addr) })}, nil
		}
		l.refuse(tcp)
	}
}

func (l *ConnectionLimit) acquire(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.Limit || l.byAddress[addr] >= l.perAddress {
		l.refused++
		return false
	}
	l.open++
	l.byAddress[addr]++
	return true
}

func (l *ConnectionLimit) release(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byAddress[addr]--; l.byAddress[addr] == 0 {
		delete(l.byAddress, addr)
	}
}

// refuse answers and hangs up. A connection that is closed with unread input is reset, which can
// destroy the answer on its way: the caller gets a moment to read it.
func (l *ConnectionLimit) refuse(conn *net.TCPConn) {
	_ = conn.SetDeadline(time.Now().Add(refusalTimeout))
	_, err := conn.Write(l.refusal) // does not block: the socket's buffer is empty
	drain := func() error {
		_, _ = io.Copy(io.Discard, conn)
		return conn.Close()
	}
	if err != nil || conn.CloseWrite() != nil || !l.refusing.TryGo(drain) {
		_ = conn.Close()
	}
}

// Close stops accepting and waits, at most refusalTimeout, for callers that read their refusal.
func (l *ConnectionLimit) Close() error {
	err := l.Listener.Close()
	_ = l.refusing.Wait() // the callers may have reset their connections
	return err
}

// A limitedConn gives its place back when it is closed.
type limitedConn struct {
	*net.TCPConn // its CloseWrite lets net/http hang up on a caller that still sends

	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

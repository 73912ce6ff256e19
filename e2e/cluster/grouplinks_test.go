package cluster

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"
)

// groupHost is where the nodes of a group look for each other. The servers listen on 127.0.0.1; the
// same ports of this address belong to groupLinks, which can interrupt them.
const groupHost = "::1"

// groupUser is the account that a node uses for its connections to other nodes.
func groupUser(node int) string { return "group" + strconv.Itoa(node) }

// groupLinks are the connections between the nodes of a group. They know which node opened a
// connection by the account that it logs in with.
type groupLinks struct {
	t         *testing.T
	listeners []net.Listener
	running   sync.WaitGroup

	mu       sync.Mutex
	isolated map[int]bool          // under mu
	healed   *sync.Cond            // on mu; told when a node is no longer isolated, and at the end
	conns    map[net.Conn]struct{} // under mu
	closed   bool                  // under mu
}

func newGroupLinks(t *testing.T) *groupLinks {
	l := &groupLinks{t: t, isolated: map[int]bool{}, conns: map[net.Conn]struct{}{}}
	l.healed = sync.NewCond(&l.mu)
	return l
}

// listen forwards what other nodes send to a node at its address.
func (l *groupLinks) listen(node int, server string) error {
	_, port, err := net.SplitHostPort(server)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(groupHost, port))
	if err != nil {
		return err
	}
	l.listeners = append(l.listeners, listener)
	l.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			l.running.Go(func() { l.forward(conn, node, server) })
		}
	})
	return nil
}

func (l *groupLinks) forward(from net.Conn, node int, server string) {
	defer l.forget(from)
	if !l.remember(from) || !l.pass(node, node) {
		return
	}
	to, err := net.Dial("tcp", server)
	if err != nil {
		return // the node is down
	}
	defer l.forget(to)
	if !l.remember(to) {
		return
	}
	buffer := make([]byte, 64<<10)
	n, err := to.Read(buffer) // the server's greeting
	if err != nil {
		return
	}
	if _, err := from.Write(buffer[:n]); err != nil {
		return
	}
	if n, err = from.Read(buffer); err != nil { // the login
		return
	}
	peer, ok := sender(buffer[:n])
	if !ok {
		l.t.Errorf("a connection to node %d is not another node's: %q", node, buffer[:n])
		return
	}
	if !l.pass(peer, node) {
		return
	}
	if _, err := to.Write(buffer[:n]); err != nil {
		return
	}
	l.running.Go(func() { l.copy(from, to, peer, node) })
	l.copy(to, from, peer, node)
}

// sender returns the node whose account a login names.
func sender(login []byte) (int, bool) {
	_, name, found := bytes.Cut(login, []byte("group"))
	name, _, ended := bytes.Cut(name, []byte{0})
	node, err := strconv.Atoi(string(name))
	return node, found && ended && err == nil
}

// copy ends both connections when one ends.
func (l *groupLinks) copy(from, to net.Conn, one, other int) {
	defer l.forget(from)
	defer l.forget(to)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !l.pass(one, other) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// pass waits while one of two nodes is isolated, and reports whether the links are still there.
func (l *groupLinks) pass(one, other int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && (l.isolated[one] || l.isolated[other]) {
		l.healed.Wait()
	}
	return !l.closed
}

// isolate stops all traffic of a node, without closing its connections, or lets it go on.
func (l *groupLinks) isolate(node int, isolated bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isolated[node] = isolated
	l.healed.Broadcast()
}

func (l *groupLinks) remember(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.conns[conn] = struct{}{}
	return true
}

func (l *groupLinks) forget(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	_ = conn.Close() // it may be closed already
}

// close ends all connections and waits until they are gone.
func (l *groupLinks) close() {
	var errs []error
	for _, listener := range l.listeners {
		errs = append(errs, listener.Close())
	}
	l.mu.Lock()
	l.closed = true
	l.healed.Broadcast()
	for conn := range l.conns {
		_ = conn.Close() // it may be closed already
	}
	l.mu.Unlock()
	l.running.Wait()
	if err := errors.Join(errs...); err != nil {
		l.t.Error(err)
	}
}

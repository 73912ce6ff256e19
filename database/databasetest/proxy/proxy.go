// Package proxy stands between a MySQL client and its server and loses what networks lose:
// connections, and the COMMITs or their answers on the way. Tests and campaigns use it; it reads
// the protocol's framing and nothing of the server's answers. Connections must be neither encrypted
// nor compressed.
package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// A Fate is what becomes of a COMMIT.
type Fate struct {
	kind    kind
	release <-chan struct{}
}

type kind int

const (
	deliver kind = iota
	cutBefore
	cutAfter
	hold
)

// Deliver passes the COMMIT and its answer on.
func Deliver() Fate { return Fate{kind: deliver} }

// CutBefore cuts the connection, on both sides, instead of passing the COMMIT on: the server rolls
// back.
func CutBefore() Fate { return Fate{kind: cutBefore} }

// CutAfter passes the COMMIT on and cuts the connection when the server has answered: it is
// committed, and the client does not know.
func CutAfter() Fate { return Fate{kind: cutAfter} }

// Hold cuts the client's side at once and passes the COMMIT on when release is closed: until then
// it is still under way. Close of the proxy drops held COMMITs.
func Hold(release <-chan struct{}) Fate { return Fate{kind: hold, release: release} }

// Counts are what has passed so far.
type Counts struct {
	Connections int // accepted and passed on
	Refused     int // turned away while Away
	Statements  int // COM_QUERY packets, COMMITs included
	Commits     int // COM_QUERY packets that say COMMIT
	// COMMITs that met each fate. CutAfter and HeldAnswered are counted when the server has
	// answered.
	CutBefore, CutAfter, Held, HeldAnswered int
}

// A Proxy passes connections on to one server. Its methods are safe for concurrent use.
type Proxy struct {
	network, server string
	listener        net.Listener
	closing         chan struct{} // closed by Close
	running         sync.WaitGroup

	mu     sync.Mutex
	counts Counts
	links  map[*link]bool // open
	away   bool
	silent chan struct{} // closed when silence ends; nil while there is none
	next   []Fate
	decide func(commit int) Fate
	closed bool
}

// Listen starts a proxy on a free local port. server is the server's address, "host:port", or its
// Unix socket's path.
func Listen(server string) (*Proxy, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{
		network: "tcp", server: server, listener: listener,
		closing: make(chan struct{}), links: map[*link]bool{},
	}
	if strings.HasPrefix(server, "/") {
		p.network = "unix"
	}
	p.running.Go(p.accept)
	return p, nil
}

// Address is where clients connect to, as "host:port".
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Next gives the next COMMITs these fates, in this order. They come before what Decide says.
func (p *Proxy) Next(fates ...Fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = append(p.next, fates...)
}

// Decide makes choose decide what becomes of each COMMIT; they are counted from 1. nil, as at
// first: all are delivered. It may be called by several connections, one at a time, and must not
// call the proxy.
func (p *Proxy) Decide(choose func(commit int) Fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decide = choose
}

// Counts returns what has passed so far.
func (p *Proxy) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// Away makes the server look away: connections are cut and new ones turned away, until it is called
// with false. COMMITs that are held stay so.
func (p *Proxy) Away(away bool) {
	p.mu.Lock()
	p.away = away
	p.mu.Unlock()
	if away {
		p.Cut()
	}
}

// Silence makes the server seem silent, until it is called with false: what clients send arrives,
// and what the server answers waits. Connections that were cut during that time get nothing any
// more.
func (p *Proxy) Silence(silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case silent && p.silent == nil:
		p.silent = make(chan struct{})
	case !silent && p.silent != nil:
		close(p.silent)
		p.silent = nil
	}
}

// speech returns what is closed when the server may be heard.
func (p *Proxy) speech() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == nil {
		return heard
	}
	return p.silent
}

// heard is closed.
var heard = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Cut cuts all connections that are there, but for COMMITs that are held.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// Close cuts everything and returns when nothing runs any more. A repeat is harmless.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.closing)
	p.mu.Unlock()
	err := p.listener.Close()
	p.Cut()
	p.running.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // it may be closed already
	if p.turnsAway() {
		return
	}
	server, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(context.Background(), p.network, p.server)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // it may be closed already
	l := &link{proxy: p, client: client, server: server, answered: make(chan struct{}), gone: make(chan struct{})}
	if !p.enter(l) {
		return
	}
	go l.passAnswers()
	l.passCommands()
	p.leave(l)
	l.cut()
	<-l.answered
}

func (p *Proxy) turnsAway() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		p.counts.Refused++
	}
	return p.away || p.closed
}

func (p *Proxy) enter(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away || p.closed {
		return false
	}
	p.counts.Connections++
	p.links[l] = true
	return true
}

func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// statement counts a COM_QUERY and returns what becomes of it.
func (p *Proxy) statement(commit bool) Fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Statements++
	if !commit {
		return Deliver()
	}
	p.counts.Commits++
	fate := Deliver()
	switch {
	case len(p.next) > 0:
		fate, p.next = p.next[0], p.next[1:]
	case p.decide != nil:
		fate = p.decide(p.counts.Commits)
	}
	switch fate.kind {
	case cutBefore:
		p.counts.CutBefore++
	case hold:
		p.counts.Held++
	case deliver, cutAfter:
	}
	return fate
}

func (p *Proxy) swallowed(held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held {
		p.counts.HeldAnswered++
	} else {
		p.counts.CutAfter++
	}
}

// A link is one client's connection and the one to the server that belongs to it.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	answered       chan struct{} // closed when no more answers are passed on
	gone           chan struct{} // closed when the link was cut

	mu      sync.Mutex
	swallow bool // the next answer is kept from the client, and the link is cut; under mu
	held    bool // the server's side outlives the client's; under mu
	wasCut  bool // under mu
}

// cut closes both sides, or the client's alone while a COMMIT is held.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.wasCut {
		l.wasCut = true
		close(l.gone)
	}
	_ = l.client.Close()
	if !l.held {
		_ = l.server.Close()
	}
}

const (
	comQuery   = 0x03
	headerSize = 4         // three bytes of length, one of sequence
	maxPayload = 1<<24 - 1 // a packet of this length goes on in the next
	maxCommit  = 64        // no COMMIT is longer
	bufferSize = 16 << 10
	// dialTimeout bounds connecting to the server.
	dialTimeout = 3 * time.Second
)

// passCommands passes the client's packets on until a side closes or fate strikes.
func (l *link) passCommands() {
	commands := bufio.NewReader(l.client)
	continued := false
	for {
		header, err := commands.Peek(headerSize)
		if err != nil {
			return
		}
		length := int64(header[0]) | int64(header[1])<<8 | int64(header[2])<<16
		// A command's first packet has the sequence number 0; what belongs to the handshake has
		// another.
		isCommand := header[3] == 0 && !continued
		continued = length == maxPayload
		if isCommand && length > 0 && !l.command(commands, int(length)) {
			return
		}
		if _, err := io.CopyN(l.server, commands, headerSize+length); err != nil {
			return
		}
	}
}

// command reports whether the command that comes is to be passed on by the caller.
func (l *link) command(commands *bufio.Reader, length int) bool {
	peeked, err := commands.Peek(headerSize + min(length, maxCommit))
	if err != nil {
		return false
	}
	command := peeked[headerSize:]
	if command[0] != comQuery {
		return true
	}
	commit := length <= maxCommit && bytes.EqualFold(bytes.TrimRight(bytes.TrimSpace(command[1:]), "; "), []byte("COMMIT"))
	packet := bytes.Clone(peeked)
	switch fate := l.proxy.statement(commit); fate.kind {
	case cutBefore:
		return false
	case cutAfter:
		l.mu.Lock()
		l.swallow = true
		l.mu.Unlock()
		return true
	case hold:
		l.holdBack(packet, fate.release)
		return false
	case deliver:
	}
	return true
}

// holdBack cuts the client off and delivers its COMMIT once released.
func (l *link) holdBack(commit []byte, release <-chan struct{}) {
	l.mu.Lock()
	l.held, l.swallow = true, true
	l.mu.Unlock()
	l.cut()
	select {
	case <-release:
		if _, err := l.server.Write(commit); err == nil {
			select {
			case <-l.answered:
			case <-l.proxy.closing:
			}
		}
	case <-l.answered: // the server ended the session itself
	case <-l.proxy.closing:
	}
	l.mu.Lock()
	l.held = false
	l.mu.Unlock()
}

// passAnswers passes on what the server sends, until a side closes or an answer is to be swallowed.
func (l *link) passAnswers() {
	defer close(l.answered)
	defer l.cut()
	buffer := make([]byte, bufferSize)
	for {
		n, err := l.server.Read(buffer)
		if n > 0 {
			// A client has read all of an answer before it sends its next command: what comes after
			// a COMMIT was passed on is the COMMIT's answer, and none of it is sent before the
			// server has committed.
			l.mu.Lock()
			swallow, held := l.swallow, l.held
			l.mu.Unlock()
			if swallow {
				l.proxy.swallowed(held)
				return
			}
			select {
			case <-l.proxy.speech():
			case <-l.gone:
				return
			}
			if _, err := l.client.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

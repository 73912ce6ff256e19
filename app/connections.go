package app

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxConnections is how many connections are open at once: four for each checkout that may be in flight by
	// default. Each costs about 20 kB, so that all of them stay below 350 MB.
	maxConnections = 16_384

	// maxTurnedAway is how many refused connections are seen out politely at once; more are cut.
	maxTurnedAway = 64

	// turnAwayTime is how long a refused caller has to read why.
	turnAwayTime = time.Second
)

// limitConnections bounds how many connections of l are open at once. A caller over the limit is not left
// waiting: it reads a 503 and is disconnected.
func limitConnections(l net.Listener, most int) *connectionLimit {
	body := answer{statusFailed, "too many connections, nothing was done: try again"}.body()
	head := fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nRetry-After: %d\r\nConnection: close\r\n\r\n", len(body), retrySoon)
	return &connectionLimit{
		Listener:   l,
		most:       int64(most),
		refusal:    append([]byte(head), body...),
		turnedAway: make(chan struct{}, maxTurnedAway),
	}
}

type connectionLimit struct {
	net.Listener

	most       int64
	refusal    []byte
	open       atomic.Int64
	refused    atomic.Int64   // since the start
	turnedAway chan struct{}  // a place for each caller that is being seen out
	seeingOut  sync.WaitGroup // their goroutines
}

// Accept returns the next connection within the limit. Those over it are refused meanwhile.
func (l *connectionLimit) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &countedConn{Conn: conn, release: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		l.turnAway(conn)
	}
}

// turnAway says why and hangs up. A connection closed with unread input is reset, which can destroy the answer on
// its way: so the caller gets a moment to read it and close.
func (l *connectionLimit) turnAway(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(turnAwayTime))
	_, err := conn.Write(l.refusal) // never blocks: it is the first thing in an empty buffer
	half, ok := conn.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = conn.Close()
		return
	}
	select {
	case l.turnedAway <- struct{}{}:
	default:
		_ = conn.Close()
		return
	}
	l.seeingOut.Go(func() {
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
		<-l.turnedAway
	})
}

// Close stops accepting and waits, for a second at most, for callers that are being turned away.
func (l *connectionLimit) Close() error {
	err := l.Listener.Close()
	l.seeingOut.Wait()
	return err
}

// A countedConn gives its place back when it is closed.
type countedConn struct {
	net.Conn

	release func()
}

func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}

// CloseWrite is what net/http looks for when it hangs up on a caller that is still sending.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

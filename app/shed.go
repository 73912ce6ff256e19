package app

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"cartwheel/app/metrics"
)

const (
	// shedTime is how long a connection is answered past net/http at a time. It is well below idleTime, whose deadline
	// net/http set when the connection became idle and does not move meanwhile.
	shedTime = 10 * time.Second
	// shedWriteTime is how long such a caller may take to read what it is answered.
	shedWriteTime = 5 * time.Second

	// refusalsPerProcessor is how many requests are shed in a second for each processor, all callers together: a tenth
	// of it or less. Callers who do not heed Retry-After but are back at once wait longer for their next refusal the more
	// they are, lest they take the processors from what is being served; longestWait at most.
	refusalsPerProcessor = 5000
	longestWait          = 250 * time.Millisecond
)

// A shedder refuses plain requests while there is no room for them, at the cost of one read and one write. What a
// refusal costs decides what is left for the requests that can be served: by way of net/http, the routes and the
// queue it costs several times as much, and under several times the load that can be served nearly everything is
// refused. The callers read what they would have read there.
type shedder struct {
	full    map[string]func() bool // by path: would a request be refused now for want of room?
	counts  map[string]*metrics.Requests
	ids     *requestIDs
	faults  *faultLog
	refusal [2][]byte     // before and after the request ID
	each    time.Duration // between two refusals
	callers atomic.Int64  // connections that are being refused
}

func newShedder(full map[string]func() bool, l *latencies, ids *requestIDs, faults *faultLog) *shedder {
	body := answer{statusFailed, wordsTooBusy}.body()
	return &shedder{
		full: full, counts: l.routes, ids: ids, faults: faults,
		each: time.Second / time.Duration(refusalsPerProcessor*runtime.GOMAXPROCS(0)),
		refusal: [2][]byte{
			fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: %d\r\n%s: ", retrySoon, headerRequestID),
			fmt.Appendf(nil, "\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
		},
	}
}

// listener returns l with its connections watched. The server must tell connState of them.
func (s *shedder) listener(l net.Listener) net.Listener { return &shedListener{l, s} }

// connState is for http.Server.ConnState.
func (s *shedder) connState(conn net.Conn, state http.ConnState) {
	if state != http.StateIdle && state != http.StateActive {
		return // a read may be under way
	}
	if c, ok := conn.(*shedConn); ok {
		c.idle = state == http.StateIdle
	}
}

type shedListener struct {
	net.Listener

	shedder *shedder
}

func (l *shedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &shedConn{Conn: conn, shedder: l.shedder}, nil
}

// A shedConn is a connection of which one goroutine at a time reads, which net/http sees to.
type shedConn struct {
	net.Conn

	shedder *shedder
	room    int  // what net/http offered to the first read: its whole buffer
	idle    bool // the last request is answered, and nothing of the next was handed on
}

// Read hands on what the caller sent, but for whole requests that are refused here.
//
// Only where a request begins may anything be taken for one. That is certain when net/http says that the connection is
// idle and offers its whole buffer: then it has nothing left over of what it was handed before.
func (c *shedConn) Read(p []byte) (int, error) {
	if c.room == 0 {
		c.room = len(p)
	}
	begins := c.idle && len(p) == c.room
	c.idle = false
	n, err := c.Conn.Read(p)
	if !begins {
		return n, err
	}
	var until time.Time
	defer func() {
		if !until.IsZero() {
			c.shedder.callers.Add(-1)
		}
	}()
	for err == nil {
		path := pathOf(p[:n])
		if full := c.shedder.full[path]; full == nil || !full() || !plainRequest(p[:n], path) {
			break
		}
		now := time.Now()
		if until.IsZero() {
			c.shedder.callers.Add(1)
			until = now.Add(shedTime)
			_ = c.SetWriteDeadline(until.Add(shedWriteTime)) // the last request's may be over
		} else if now.After(until) {
			break
		}
		if err := c.shedder.refuse(c.Conn, path, now); err != nil {
			return 0, err
		}
		time.Sleep(c.shedder.wait()) //nolint:forbidigo // short, and there is nobody else whom it keeps waiting
		n, err = c.Conn.Read(p)
	}
	return n, err
}

// CloseWrite is what net/http looks for when it hangs up on a caller that is still sending.
func (c *shedConn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite() // connectionLimit's connections have it
}

// wait is how long a caller who was refused is not listened to.
func (s *shedder) wait() time.Duration {
	return min(time.Duration(s.callers.Load())*s.each, longestWait)
}

func (s *shedder) refuse(conn net.Conn, path string, began time.Time) error {
	var room [512]byte
	text := append(room[:0], s.refusal[0]...)
	text = append(text, s.ids.next()...)
	text = append(text, s.refusal[1]...)
	s.faults.skipped.Add(1)
	s.counts[path].Answered(http.StatusServiceUnavailable, time.Since(began)) // whoever has read the answer finds it counted
	_, err := conn.Write(text)
	return err
}

// plainHeaders are the names of headers, in lower case, that say nothing about how a request is framed or answered.
var plainHeaders = map[string]bool{
	"host": true, "user-agent": true, "accept": true, "accept-encoding": true, "accept-language": true,
	"content-type": true, "authorization": true, "traceparent": true, "tracestate": true, "forwarded": true, "via": true,
	"x-forwarded-for": true, "x-forwarded-host": true, "x-forwarded-port": true, "x-forwarded-proto": true, "x-real-ip": true,
}

// longestHeader is the length of the longest of the headers' names that are looked up.
const longestHeader = 17

// The beginnings of the requests that may be shed.
var (
	addLine      = []byte("POST " + pathAddToCart + " HTTP/1.1\r\n")
	checkOutLine = []byte("POST " + pathCheckOutCart + " HTTP/1.1\r\n")
)

// pathOf returns the path that a request which begins with text is for, or "" where it is not one of the two.
func pathOf(text []byte) string {
	switch {
	case bytes.HasPrefix(text, addLine):
		return pathAddToCart
	case bytes.HasPrefix(text, checkOutLine):
		return pathCheckOutCart
	}
	return ""
}

// plainRequest reports whether text, which begins a POST of path, is one whole request and nothing else, with a body of a stated
// length and headers that ask for nothing special: no Idempotency-Key, no other connection handling, no origin. When in
// doubt it is not: net/http looks at it then.
func plainRequest(text []byte, path string) bool {
	rest := text[len("POST ")+len(path)+len(" HTTP/1.1\r\n"):]
	length, hosts := -1, 0
	for {
		end := bytes.IndexByte(rest, '\n')
		if end < 1 || rest[end-1] != '\r' {
			return false
		}
		line := rest[:end-1]
		rest = rest[end+1:]
		if len(line) == 0 {
			return length >= 0 && hosts == 1 && len(rest) == length
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 1 || colon > longestHeader {
			return false
		}
		var room [longestHeader]byte
		name := room[:colon]
		for i, c := range line[:colon] {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			name[i] = c
		}
		value := bytes.TrimSpace(line[colon+1:])
		for _, c := range value {
			if c < ' ' || c > '~' {
				return false
			}
		}
		switch {
		case string(name) == "content-length" && length < 0:
			n, err := strconv.ParseUint(string(value), 10, 16)
			if err != nil || value[0] == '+' {
				return false
			}
			length = int(n)
		case string(name) == "connection" && string(value) == "keep-alive":
		case string(name) == "host" && len(value) > 0:
			hosts++
		case !plainHeaders[string(name)] || string(name) == "host":
			return false
		}
	}
}

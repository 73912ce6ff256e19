package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sendEvery is how often the generator looks whether requests are due, when no answer wakes it:
	// they are late by that at most.
	sendEvery = 200 * time.Microsecond
	// answersWithin is how long the last answers are waited for.
	answersWithin = 20 * time.Second
	// mostExpected is for how many answers room is made beforehand, at most.
	mostExpected = 2_000_000
)

// A caller is one connection of the generator.
type caller struct {
	fd     int
	due    time.Duration // when the request under way was to be sent
	busy   bool
	answer []byte // what has come of it
}

// A generator makes one offer.
type generator struct {
	offer
	taking

	head    []byte
	request []byte // room
	body    []byte // room
	epoll   int
	timer   int
	callers []caller
	free    []int // indexes of callers with nothing under way
	next    int   // the number of the next request
	began   time.Time
	read    [4096]byte
}

// take makes an offer and waits for the answers.
func (o offer) take(ctx context.Context) (*taking, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g := &generator{offer: o}
	defer g.close()
	if err := g.open(); err != nil {
		return nil, fmt.Errorf("open %d connections to %s: %w", o.connections, o.base, err)
	}
	runtime.GC() // now rather than amid the requests: see main
	if err := g.run(ctx); err != nil {
		return nil, err
	}
	g.sort()
	return &g.taking, nil
}

func (g *generator) open() error {
	g.statuses = map[int]int{}
	g.epoll, g.timer = -1, -1
	room := min(g.requests, mostExpected)
	g.succeeded, g.successes = make([]time.Duration, 0, room), make([]time.Duration, 0, room)
	target, err := url.Parse(g.base)
	if err != nil {
		return err
	}
	address, err := netip.ParseAddrPort(target.Host)
	if err != nil {
		return err
	}
	g.head = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: ", pathOf(g.what), target.Host)
	if g.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if g.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return err
	}
	every := unix.NsecToTimespec(sendEvery.Nanoseconds())
	if err := unix.TimerfdSettime(g.timer, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return err
	}
	if err := unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, g.timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1}); err != nil {
		return err
	}
	g.callers = make([]caller, g.connections)
	for i := range g.callers {
		g.callers[i].fd = -1
	}
	for i := range g.callers {
		if err := g.connect(i, address); err != nil {
			return err
		}
		g.free = append(g.free, i)
	}
	return nil
}

func (g *generator) connect(i int, address netip.AddrPort) (err error) {
	c := &g.callers[i]
	if c.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	return errors.Join(
		unix.Connect(c.fd, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}),
		unix.SetNonblock(c.fd, true),
		unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}),
	)
}

func (g *generator) close() {
	for _, c := range g.callers {
		if c.fd >= 0 {
			_ = unix.Close(c.fd)
		}
	}
	for _, fd := range []int{g.epoll, g.timer} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// due is when the n-th request is to be sent.
func (g *generator) due(n int) time.Duration {
	return time.Duration(float64(n) / g.rate * float64(time.Second))
}

func (g *generator) run(ctx context.Context) error {
	events := make([]unix.EpollEvent, 512)
	g.began = time.Now()
	alive := len(g.callers)
	for g.next < g.requests || len(g.free) < alive {
		if g.enough != nil && g.enough() {
			g.requests = g.next
		}
		g.sendDue()
		n, err := unix.EpollWait(g.epoll, events, 1000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, event := range events[:max(n, 0)] {
			if event.Fd < 0 {
				_, _ = unix.Read(g.timer, g.read[:8])
				continue
			}
			if !g.receive(int(event.Fd)) {
				alive--
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if alive == 0 {
			return fmt.Errorf("the server has closed all connections: %v", g.statuses)
		}
		if g.next >= g.requests && time.Since(g.began) > g.due(g.requests)+answersWithin {
			g.failed += alive - len(g.free)
			break
		}
	}
	g.took = time.Since(g.began)
	return nil
}

// sendDue sends the requests whose time has come.
func (g *generator) sendDue() {
	now := time.Since(g.began)
	for ; g.next < g.requests && g.due(g.next) <= now; g.next++ {
		if len(g.free) == 0 {
			if !g.drop {
				return
			}
			g.dropped++
			continue
		}
		i := g.free[0] // the one that was idle for longest: the server closes those that are for long
		g.free = g.free[1:]
		g.send(&g.callers[i])
	}
}

func (g *generator) send(c *caller) {
	g.body = g.offer.body(g.next, g.body[:0])
	g.request = append(g.request[:0], g.head...)
	g.request = strconv.AppendInt(g.request, int64(len(g.body)), 10)
	g.request = append(g.request, "\r\n\r\n"...)
	g.request = append(g.request, g.body...)
	c.due, c.busy, c.answer = g.due(g.next), true, c.answer[:0]
	if g.rate == atOnce {
		c.due = time.Since(g.began)
	}
	g.sent++
	// What does not fit, or is not taken, shows when the connection is read: it breaks, or there is
	// no answer.
	_, _ = unix.Write(c.fd, g.request)
}

// receive takes in what has come for a caller. It reports whether the connection is there still.
func (g *generator) receive(i int) bool {
	c := &g.callers[i]
	n, err := unix.Read(c.fd, g.read[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return true
	}
	if n <= 0 || !c.busy {
		if c.busy {
			g.failed++
		} else {
			for at, free := range g.free {
				if free == i {
					g.free = append(g.free[:at], g.free[at+1:]...)
					break
				}
			}
		}
		c.busy = false
		_ = unix.Close(c.fd) // which takes it out of epoll
		c.fd = -1
		return false
	}
	c.answer = append(c.answer, g.read[:n]...)
	status, whole := parseAnswer(c.answer)
	if !whole {
		return true
	}
	now := time.Since(g.began)
	latency := now - c.due
	g.statuses[status]++
	if status == 200 {
		g.succeeded, g.successes = append(g.succeeded, latency), append(g.successes, now)
	} else {
		g.refused = append(g.refused, latency)
	}
	c.busy = false
	g.free = append(g.free, i)
	return true
}

// parseAnswer reads an answer's status, once all of it is there.
func parseAnswer(answer []byte) (status int, whole bool) {
	end := bytes.Index(answer, []byte("\r\n\r\n"))
	if end < 0 || len(answer) < len("HTTP/1.1 200") {
		return 0, false
	}
	const name = "\r\nContent-Length: "
	at := bytes.Index(answer[:end], []byte(name))
	if at < 0 {
		return 0, false
	}
	length := 0
	for _, digit := range answer[at+len(name) : end] {
		if digit < '0' || digit > '9' {
			break
		}
		length = 10*length + int(digit-'0')
	}
	status, err := strconv.Atoi(string(answer[9:12]))
	return status, err == nil && len(answer) >= end+4+length
}

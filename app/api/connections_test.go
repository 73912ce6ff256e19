package api

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestConnectionLimit_connectionOverTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = inner.Addr().String()
	limited := LimitConnections(inner, 2)
	served := make(chan struct{})
	server := &http.Server{Handler: s.http.Handler, ReadHeaderTimeout: headTimeout}
	go func() {
		defer close(served)
		_ = server.Serve(limited)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})

	const request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	ask := func(conn net.Conn) reply {
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		return s.readReply(conn, "GET")
	}
	first, second := s.dial(), s.dial()
	checkAnswer(t, ask(first), 200, "")
	checkAnswer(t, ask(second), 200, "")

	// A caller who is still sending is not reset: that could destroy the answer on its way.
	late := s.dial()
	if got := s.readReply(late, "GET"); got.code != 503 {
		t.Fatalf("got %d before anything was sent, want 503", got.code)
	}
	for range 3 {
		if _, err := io.WriteString(late, request); err != nil {
			t.Errorf("a caller that is turned away cannot finish its request: %v", err)
		}
	}

	for range maxRefusing + 5 {
		got := ask(s.dial())
		got.header.Set("X-Request-ID", "none: nobody has read the request")
		checkAnswer(t, got, 503, "too many connections, nothing was done")
		if got.header.Get("Retry-After") != "1" || !got.closes {
			t.Errorf("got headers %v", got.header)
		}
	}
	checkAnswer(t, ask(first), 200, "") // those within are not disturbed

	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // the server learns of it in its own time
		got := ask(s.dial())
		if got.code == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of a closed connection is not given back")
		}
	}
}

func TestConnectionLimit_placeIsReleasedOnce(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited := LimitConnections(inner, 1)
	t.Cleanup(func() { _ = limited.Close() })
	caller, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caller.Close() })
	conn, err := limited.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	_ = conn.Close()
	if open, _ := limited.Stats(); open != 0 {
		t.Errorf("after two closes of one connection %d are open, want 0", open)
	}
}

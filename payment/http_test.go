package payment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestCharge_brokenConnectionIsRetriedThenUnknown(t *testing.T) {
	t.Parallel()
	breaks := map[string]func(net.Conn){
		"hung up": func(c net.Conn) { _ = c.Close() },
		"reset": func(c net.Conn) {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		},
		"reset inside the head": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-")
			_ = c.Close()
		},
		"reset inside the body": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n"+`{"status":"approved"}`)
			_ = c.Close()
		},
		"chunks without an end": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+
				"15\r\n"+`{"status":"approved"}`+"\r\n")
			_ = c.Close()
		},
		"no HTTP": func(c net.Conn) {
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n")
			_ = c.Close()
		},
	}
	for name, hangUp := range breaks {
		for _, call := range []string{"charge", "void", "refund"} {
			t.Run(name+" during a "+call, func(t *testing.T) {
				t.Parallel()
				s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
					conn, _, err := w.(http.Hijacker).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					hangUp(conn)
				})
				result, err := ask(t.Context(), connect(t, s.URL, Options{}), call, "1")
				mustBeUnknown(t, call, result, err)
				if got := s.requests.Load(); got != 3 {
					t.Errorf("%d attempts, want 3", got)
				}
			})
		}
	}
}

func TestCharge_lateSuccessIsAnswered(t *testing.T) {
	t.Parallel()
	var tries atomic.Int64
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, `{"status":"approved"}`)
	})
	var retried atomic.Int64
	var outcome, began string
	gateway := connect(t, s.URL, Options{Observe: Observer{
		Began:   func(call string) { began += call },
		Retried: func(string) { retried.Add(1) },
		Called:  func(call, ended string, _ time.Duration) { outcome = call + " " + ended },
	}})
	if got, err := gateway.Charge(t.Context(), order("1")); err != nil || got.Status != Approved {
		t.Errorf("Charge = %v, %v", got, err)
	}
	if retried.Load() != 2 || began != "charge" || outcome != "charge approved" {
		t.Errorf("observed %q, %d repeats and %q", began, retried.Load(), outcome)
	}
}

func TestCharge_withoutAConnectionIsNotSent(t *testing.T) {
	t.Parallel()
	var retried atomic.Int64
	gateway := connect(t, "http://"+refusing(t), Options{Observe: Observer{Retried: func(string) { retried.Add(1) }}})
	for _, call := range []string{"charge", "void", "refund"} {
		if _, err := ask(t.Context(), gateway, call, "1"); !errors.Is(err, ErrNotSent) {
			t.Errorf("%s = %v, want ErrNotSent", call, err)
		}
	}
	if got := retried.Load(); got != 6 {
		t.Errorf("%d repeats, want 2 for each of 3 calls", got)
	}
}

func TestCharge_isNotUnsentWhenOneAttemptWasSent(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // takes the first attempt, then nobody listens any more
		defer close(done)
		conn, err := listener.Accept()
		_ = listener.Close()
		if err == nil {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}()
	result, err := connect(t, "http://"+listener.Addr().String(), Options{}).Charge(t.Context(), order("1"))
	<-done
	mustBeUnknown(t, "Charge", result, err)
}

func TestCharge_invalidIDIsNotSent(t *testing.T) {
	t.Parallel()
	s := serve(t, answerWith(200, `{"status":"approved"}`))
	gateway := connect(t, s.URL, Options{})
	for _, id := range []string{"", ".", ".."} {
		if _, err := gateway.Charge(t.Context(), order(id)); !errors.Is(err, ErrNotSent) {
			t.Errorf("Charge of %q = %v, want ErrNotSent", id, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := gateway.Charge(ended, order("1")); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Errorf("Charge after its caller left = %v, want ErrNotSent", err)
	}
	if got := s.requests.Load(); got != 0 {
		t.Errorf("%d requests, want none", got)
	}
}

func TestCharge_timeoutLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"silent": "", "stuck inside the body": `{"status":"appr`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := silent(t, head)
			gateway := connect(t, s.URL, Options{Timeout: 300 * time.Millisecond})
			result, err := gateway.Charge(t.Context(), order("1"))
			mustBeUnknown(t, "Charge", result, err)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Charge = %v, want it to say that the time was over", err)
			}
			nearer, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			result, err = connect(t, s.URL, Options{}).Charge(nearer, order("1"))
			mustBeUnknown(t, "Charge with a caller's deadline", result, err)
			if got := s.requests.Load(); got != 2 {
				t.Errorf("%d attempts, want 1 for each call", got)
			}
		})
	}
}

func TestCharge_retryThatWouldOutlastTheTimeoutIsNotBegun(t *testing.T) {
	t.Parallel()
	s := serve(t, answerWith(503, ""))
	gateway := connect(t, s.URL, Options{Timeout: 10 * time.Second})
	gateway.firstWait = time.Minute
	started := time.Now()
	result, err := gateway.Charge(t.Context(), order("1"))
	mustBeUnknown(t, "Charge", result, err)
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it waited %v for nothing", took)
	}
	if !strings.Contains(err.Error(), "503") {
		t.Errorf("the error %v does not say what the gateway answered", err)
	}
}

func TestGateway_boundsItsConnections(t *testing.T) {
	t.Parallel()
	const callers, bound, rounds = 1500, 50, 2
	s := serve(t, answerWith(200, `{"status":"approved"}`))
	gateway := connect(t, s.URL, Options{MaxInFlight: bound, Timeout: time.Minute})
	for round := range rounds {
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				got, err := gateway.Charge(t.Context(), order(fmt.Sprint(round, i)))
				if err != nil || got.Status != Approved {
					t.Errorf("Charge = %v, %v", got, err)
				}
			})
		}
		group.Wait()
	}
	if got := s.requests.Load(); got != callers*rounds {
		t.Errorf("%d requests, want %d", got, callers*rounds)
	}
	// A connection that breaks is replaced, so a few more may be opened one after the other.
	if got := s.connections.Load(); got > bound*11/10 {
		t.Errorf("%d connections, want hardly more than %d", got, bound)
	}
}

func TestGateway_burstsReuseConnections(t *testing.T) {
	t.Parallel()
	const callers = 500
	var gate sync.WaitGroup
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		gate.Done()
		gate.Wait() // all of a burst are in flight at once
		_, _ = io.WriteString(w, `{"status":"approved"}`)
	})
	gateway := connect(t, s.URL, Options{Timeout: time.Minute})
	for round := range 3 {
		gate.Add(callers)
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				if _, err := gateway.Charge(t.Context(), order(fmt.Sprint(round, i))); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	// A connection goes back a moment after its answer, so a later burst may dial a few more.
	if got := s.connections.Load(); got < callers || got > callers*11/10 {
		t.Errorf("three bursts of %d took %d connections, want hardly more than one burst", callers, got)
	}
}

package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"cartwheel/app/admin/metrics"
	"cartwheel/database"
	"cartwheel/queue"
)

func TestLoadShedding_fullQueueRefusesBeforeTheBodyIsRead(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{Admissions: map[string]*Admission{PathAddToCart: NewAdmission(func() bool { return true })}})
	conn := s.dial()
	// The body never comes.
	if _, err := io.WriteString(conn, "POST /addToCart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 51\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got := s.readReply(conn, "POST")
	checkAnswer(t, got, 503, busy.message)
	if got.header.Get("Cartwheel-Error") != "busy" || got.header.Get("Retry-After") != "1" {
		t.Errorf("headers %v", got.header)
	}
	checkAnswer(t, s.do("POST", "/checkOutCart", validCheckOut), 200, "")
	if s.shop.calls() != 1 {
		t.Errorf("the shop was called %d times, want once, for the checkout", s.shop.calls())
	}
}

func TestLoadShedding_requestWithAKeyPasses(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{Admissions: map[string]*Admission{PathAddToCart: NewAdmission(func() bool { return true })}})
	checkAnswer(t, s.do("POST", "/addToCart", validAdd, "Idempotency-Key", "k"), 200, "")
	if s.shop.keyed() != 1 {
		t.Error("a request whose answer may be stored was refused")
	}
}

func TestLoadShedding_answerAdmitsTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		full, end := false, make(chan struct{})
		s := &Server{config: Config{Admissions: map[string]*Admission{PathAddToCart: NewAdmission(func() bool { return full })}}}
		request := func() error {
			c := echo.New().NewContext(httptest.NewRequest(http.MethodPost, PathAddToCart, nil), httptest.NewRecorder())
			return s.shedLoad(func(echo.Context) error { <-end; return nil })(c)
		}
		go func() { _ = request() }()
		synctest.Wait()
		full = true
		began, second := time.Now(), make(chan error)
		go func() { second <- request() }()
		synctest.Wait()
		full = false
		close(end)
		if err := <-second; err != nil || time.Since(began) != 0 {
			t.Errorf("the second request ended with %v after %v, want it admitted by the first's answer", err, time.Since(began))
		}
	})
}

func TestAdmission_oneThatHasWaitedLongestGoesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		full := true
		a := NewAdmission(func() bool { return full })
		admitted := make(chan int, 3)
		for i := range 3 {
			go func() {
				if a.enter(t.Context()) {
					admitted <- i
				}
			}()
			synctest.Wait()
		}
		a.leave() // there is no room yet
		full = false
		for want := range 3 {
			a.leave()
			if got := <-admitted; got != want {
				t.Errorf("request %d was admitted, want %d", got, want)
			}
		}
		if !a.enter(t.Context()) {
			t.Error("a request was refused, though there is room and nobody waits")
		}
	})
}

func TestAdmission_newRequestWaitsBehindOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		full := true
		a := NewAdmission(func() bool { return full })
		go a.enter(t.Context())
		synctest.Wait()
		full = false
		began := time.Now()
		if !a.enter(t.Context()) || time.Since(began) != admissionTimeout {
			t.Errorf("admitted after %v, want to wait for the first, at most %v", time.Since(began), admissionTimeout)
		}
	})
}

func TestAdmission_waitIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := NewAdmission(func() bool { return true })
		began := time.Now()
		if a.enter(t.Context()) || time.Since(began) != admissionTimeout {
			t.Errorf("refused after %v, want %v", time.Since(began), admissionTimeout)
		}
		left, leave := context.WithCancel(t.Context())
		leave()
		if began = time.Now(); a.enter(left) || time.Since(began) != 0 {
			t.Error("a caller that left is waited for")
		}
		if a.waiting.Len() != 0 {
			t.Error("requests that were refused still wait")
		}
	})
}

func TestBodies_slowLargeBodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	head := fmt.Sprintf("POST /addToCart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", maxBodyBytes)
	slow := make([]net.Conn, maxLargeBodies)
	for i := range slow {
		slow[i] = s.dial()
		if _, err := io.WriteString(slow[i], head+strings.Repeat(" ", 2*usualBodyBytes)); err != nil {
			t.Fatal(err)
		}
	}
	for len(s.http.largeBodies) < maxLargeBodies { // the server reads them in its own time
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
		checkAnswer(t, s.do(http.MethodGet, "/healthz", ""), 200, "")
	}
	checkAnswer(t, s.do("POST", "/addToCart", strings.Repeat(" ", 2*usualBodyBytes)+validAdd), 503, "too many large bodies")
	checkAnswer(t, s.do("POST", "/addToCart", validAdd), 200, "") // usual requests are not delayed
	for _, conn := range slow {
		_ = conn.Close()
	}
	for len(s.http.largeBodies) > 0 {
		checkAnswer(t, s.do(http.MethodGet, "/healthz", ""), 200, "")
	}
}

func TestConnectionLimit_oneAddressCannotTakeEveryConnection(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := LimitConnections(inner, 16)
	t.Cleanup(func() { _ = l.Close() })
	flood, other := clientNetwork(netip.MustParseAddr("192.0.2.1")), clientNetwork(netip.MustParseAddr("192.0.2.2"))
	accepted := 0
	for range 100 {
		if l.acquire(flood) {
			accepted++
		}
	}
	if accepted != 14 || !l.acquire(other) {
		t.Errorf("one address has %d of 16 connections, and another gets none", accepted)
	}
	for range accepted {
		l.release(flood)
	}
	l.release(other)
	if open, _ := l.Stats(); open != 0 || len(l.byAddress) != 0 {
		t.Errorf("%d connections, %d addresses are left", open, len(l.byAddress))
	}
}

func TestServer_callerThatLeftIsCountedAs499AndNotLogged(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{queue.ErrNotStarted, queue.ErrUnanswered, database.ErrUnavailable} {
		t.Run(kind.Error(), func(t *testing.T) {
			t.Parallel()
			m := metrics.New("")
			began, end := make(chan struct{}), make(chan struct{})
			s := setup(t, Config{Metrics: m})
			s.shop.answer = func(ctx context.Context) error {
				close(began)
				<-ctx.Done()
				defer close(end)
				return fmt.Errorf("%w: %w", kind, ctx.Err())
			}
			conn := s.dial()
			if _, err := fmt.Fprintf(conn, "POST /addToCart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(validAdd), validAdd); err != nil {
				t.Fatal(err)
			}
			<-began
			_ = conn.Close()
			<-end
			_ = s.http.Shutdown(t.Context()) // waits for the handler
			if log := s.log.String(); strings.Contains(log, "request failed") {
				t.Errorf("a caller that left is logged: %s", log)
			}
			codes := m.Answers(PathAddToCart).Codes
			if codes[statusCallerLeft] != 1 || codes[503] != 0 || codes[504] != 0 {
				t.Errorf("a caller that left is counted as %v", codes)
			}
		})
	}
}

// A balancer that keeps a connection longer than the server sends into a closed one.
func TestServer_idleTimeoutExceedsThatOfUsualBalancers(t *testing.T) {
	t.Parallel()
	if got := setup(t, Config{}).http.IdleTimeout; got <= 120*time.Second {
		t.Errorf("connections are closed after %v, want more than Caddy's 120 s", got)
	}
	if got := setup(t, Config{IdleTimeout: 620 * time.Second}).http.IdleTimeout; got != 620*time.Second {
		t.Errorf("a configured idle timeout is %v", got)
	}
}

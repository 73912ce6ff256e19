package payment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scripted is a transport without a network, for a bubble of synctest. It counts the attempts.
type scripted struct {
	attempts atomic.Int64
	answer   func(*http.Request) (*http.Response, error)
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	s.attempts.Add(1)
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	return s.answer(r)
}

func response(code int, body string) *http.Response {
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader(body))}
}

// breaking opens a gateway, as in production, over a transport that fails while down is set.
func breaking(t *testing.T) (gateway *HTTPGateway, transport *scripted, down *atomic.Bool, changes func() []string) {
	t.Helper()
	down = new(atomic.Bool)
	transport = &scripted{answer: func(r *http.Request) (*http.Response, error) {
		switch {
		case down.Load():
			return response(http.StatusServiceUnavailable, ""), nil
		case r.Method == http.MethodPut:
			return response(http.StatusOK, `{"status":"approved"}`), nil
		case r.Method == http.MethodDelete:
			return response(http.StatusOK, `{"status":"voided"}`), nil
		default:
			return response(http.StatusOK, `{"status":"refunded"}`), nil
		}
	}}
	var mu sync.Mutex
	var states []string
	opened, err := Open("http://shop.example", Options{Observe: Observer{BreakerChanged: func(state string) {
		mu.Lock()
		defer mu.Unlock()
		states = append(states, state)
	}}})
	if err != nil {
		t.Fatal(err)
	}
	gateway = opened.(*HTTPGateway)
	gateway.transport = transport
	return gateway, transport, down, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return states
	}
}

// trip makes charges fail until the breaker opens.
func trip(t *testing.T, gateway *HTTPGateway) {
	t.Helper()
	for i := range breakerConsecutive {
		if err := gateway.Available(); err != nil {
			t.Fatalf("the breaker opened after %d failures, want %d", i, breakerConsecutive)
		}
		result, err := gateway.Charge(t.Context(), order(fmt.Sprint(i)))
		mustBeUnknown(t, "Charge", result, err)
	}
	if err := gateway.Available(); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("Available = %v after %d failures, want ErrUnavailable", err, breakerConsecutive)
	}
}

func TestAnOpenBreakerLetsNothingThrough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		before := transport.attempts.Load()
		for _, call := range []string{"charge", "void", "refund"} {
			if _, err := ask(t.Context(), gateway, call, "1"); !errors.Is(err, ErrNotSent) || !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s = %v, want ErrNotSent and ErrUnavailable", call, err)
			}
		}
		if got := transport.attempts.Load(); got != before {
			t.Errorf("%d attempts went out", got-before)
		}
	})
}

func TestTheBreakerClosesAgainByWhateverCallComes(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"charge", "void", "refund"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gateway, transport, down, changes := breaking(t)
				down.Store(true)
				trip(t, gateway)

				<-time.After(gateway.tuning.openFor + 1)
				if err := gateway.Available(); err != nil {
					t.Errorf("Available = %v when the breaker is half-open", err)
				}
				before := transport.attempts.Load()
				_, err := ask(t.Context(), gateway, call, "1") // fails
				mustBeUnknown(t, call, Result{}, err)
				if got := transport.attempts.Load() - before; got != 3 {
					t.Errorf("the probe made %d attempts, want 3", got)
				}
				if err := gateway.Available(); !errors.Is(err, ErrUnavailable) {
					t.Errorf("Available = %v after the probe failed", err)
				}

				down.Store(false)
				if _, err := ask(t.Context(), gateway, call, "1"); !errors.Is(err, ErrNotSent) {
					t.Errorf("%s = %v while the breaker is open", call, err)
				}
				<-time.After(gateway.tuning.openFor + 1)
				for range 3 {
					if _, err := ask(t.Context(), gateway, call, "1"); err != nil {
						t.Errorf("%s = %v once the gateway is back", call, err)
					}
				}
				want := []string{"open", "half-open", "open", "half-open", "closed"}
				if diff := cmp.Diff(want, changes()); diff != "" {
					t.Errorf("changes (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAHalfOpenBreakerSendsOneProbeAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		<-time.After(gateway.tuning.openFor + 1)

		release := make(chan struct{})
		transport.answer = func(r *http.Request) (*http.Response, error) {
			select {
			case <-release:
				return response(http.StatusOK, `{"status":"approved"}`), nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}
		// A probe whose caller leaves says nothing and makes room for the next.
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			result, err := gateway.Charge(ctx, order("left"))
			mustBeUnknown(t, "Charge", result, err)
		})
		synctest.Wait()
		if err := gateway.Available(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Available = %v during the probe, want ErrUnavailable", err)
		}
		if _, err := gateway.Void(t.Context(), "2"); !errors.Is(err, ErrNotSent) {
			t.Errorf("Void = %v during the probe, want ErrNotSent", err)
		}
		cancel()
		group.Wait()
		if err := gateway.Available(); err != nil {
			t.Errorf("Available = %v after the probe's caller left", err)
		}
		group.Go(func() {
			if _, err := gateway.Charge(t.Context(), order("stayed")); err != nil {
				t.Errorf("the second probe: %v", err)
			}
		})
		synctest.Wait()
		close(release)
		group.Wait()
		if _, err := gateway.Charge(t.Context(), order("3")); err != nil {
			t.Errorf("Charge = %v after the probe was answered", err)
		}
	})
}

func TestAProbeThatPanicsDoesNotKeepTheBreakerHalfOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		<-time.After(gateway.tuning.openFor + 1)
		down.Store(false)
		healthy := transport.answer
		transport.answer = func(*http.Request) (*http.Response, error) { panic("a fault of ours") }
		func() {
			defer func() { _ = recover() }()
			_, _ = gateway.Charge(t.Context(), order("1"))
			t.Error("it did not panic")
		}()
		transport.answer = healthy
		<-time.After(gateway.tuning.openFor + 1)
		if _, err := gateway.Charge(t.Context(), order("1")); err != nil {
			t.Errorf("Charge = %v", err)
		}
	})
}

func TestCallsThatHangOpenTheBreakerThoughTheyOutlastItsWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, _, _ := breaking(t)
		gateway.timeout = 3 * breakerWindow
		transport.answer = func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		var group sync.WaitGroup
		for i := range breakerConsecutive {
			group.Go(func() {
				result, err := gateway.Charge(t.Context(), order(fmt.Sprint(i)))
				mustBeUnknown(t, "Charge", result, err)
			})
		}
		group.Wait()
		if err := gateway.Available(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Available = %v, want ErrUnavailable", err)
		}
	})
}

func TestFailuresFromBeforeTheBreakerOpenedDoNotOpenItAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, _ := breaking(t)
		healthy := transport.answer
		transport.answer = func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "hangs") {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return healthy(r)
		}
		var group sync.WaitGroup
		for range 3 * breakerConsecutive {
			group.Go(func() { _, _ = gateway.Charge(t.Context(), order("hangs")) })
		}
		synctest.Wait()
		down.Store(true)
		trip(t, gateway)
		down.Store(false)
		<-time.After(gateway.tuning.openFor + 1)
		if _, err := gateway.Void(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
		group.Wait()
		if err := gateway.Available(); err != nil {
			t.Errorf("Available = %v after old calls ended", err)
		}
	})
}

func TestHalfOfTheCallsFailingOpensTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, _, _ := breaking(t)
		calls := 0
		transport.answer = func(*http.Request) (*http.Response, error) {
			if calls++; calls%2 == 1 {
				return response(http.StatusOK, `{"status":"approved"}`), nil
			}
			return response(http.StatusForbidden, ""), nil
		}
		for i := range breakerMinimum {
			if err := gateway.Available(); err != nil {
				t.Fatalf("the breaker opened after %d calls, want %d", i, breakerMinimum)
			}
			_, _ = gateway.Charge(t.Context(), order(fmt.Sprint(i)))
		}
		if err := gateway.Available(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Available = %v, want ErrUnavailable", err)
		}
	})
}

func TestOneCheckoutThatTheGatewayCannotDigestDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, _, _ := breaking(t)
		transport.answer = func(*http.Request) (*http.Response, error) { return response(http.StatusInternalServerError, ""), nil }
		for range 100 {
			_, err := gateway.Void(t.Context(), "poison")
			mustBeUnknown(t, "Void", Result{}, err)
			<-time.After(2 * time.Second)
		}
	})
}

func TestARefundThatTheGatewayRefusesDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, _, _ := breaking(t)
		for _, body := range []string{`{"error":"not charged"}`, `{"status":"voided"}`, "no"} {
			transport.answer = func(*http.Request) (*http.Response, error) { return response(http.StatusConflict, body), nil }
			for range 2 * breakerMinimum {
				mustBeUnknown(t, "Refund", Result{}, gateway.Refund(t.Context(), "1"))
			}
		}
		if err := gateway.Available(); err != nil {
			t.Errorf("Available = %v", err)
		}
	})
}

func TestRepeatsStopWhenTheBreakerOpens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, _ := breaking(t)
		down.Store(true)
		gateway.tuning.firstWait = time.Second
		var group sync.WaitGroup
		group.Go(func() {
			result, err := gateway.Charge(t.Context(), order("waits"))
			mustBeUnknown(t, "Charge", result, err)
		})
		synctest.Wait() // it waits for its second attempt
		gateway.tuning.firstWait = time.Millisecond
		trip(t, gateway)
		before := transport.attempts.Load()
		group.Wait()
		if got := transport.attempts.Load() - before; got != 0 {
			t.Errorf("%d attempts went out while the breaker was open", got)
		}
	})
}

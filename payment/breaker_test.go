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

// scripted is a transport without a network, for synctest. It counts the attempts.
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
	for i := range breakerFailures {
		if err := gateway.Available(); err != nil {
			t.Fatalf("the breaker opened after %d failures, want %d", i, breakerFailures)
		}
		result, err := gateway.Charge(t.Context(), order(fmt.Sprint(i)))
		mustBeUnknown(t, "Charge", result, err)
	}
	if err := gateway.Available(); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("Available = %v after %d failures, want ErrUnavailable", err, breakerFailures)
	}
}

func TestBreaker_openRefusesChargesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		before := transport.attempts.Load()
		_, err := gateway.Charge(t.Context(), order("1"))
		if !errors.Is(err, ErrNotSent) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("charge = %v, want ErrNotSent and ErrUnavailable", err)
		}
		if after := transport.attempts.Load(); after != before {
			t.Errorf("%d attempts reached the payment service", after-before)
		}
		down.Store(false)
		if result, err := gateway.Void(t.Context(), "1"); err != nil || result.Status != Voided {
			t.Errorf("void = %v, %v, want it to pass an open breaker", result, err)
		}
		if result, err := gateway.Refund(t.Context(), "1"); err != nil || result.Status != Refunded {
			t.Errorf("refund = %v, %v, want it to pass an open breaker", result, err)
		}
	})
}

// Callers with empty carts ask Available and never charge. They must not use up the probe.
func TestBreaker_callersThatNeverChargeDoNotDelayRecovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, _, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		down.Store(false)
		<-time.After(breakerOpen + 1)
		for i := range 25 {
			for range 100 {
				_ = gateway.Available()
			}
			if err := gateway.Available(); err != nil {
				t.Fatalf("checkout %d: Available = %v after the payment service recovered", i, err)
			}
			if _, err := gateway.Charge(t.Context(), order(fmt.Sprint(i))); err != nil {
				t.Fatalf("checkout %d: Charge = %v after the payment service recovered", i, err)
			}
		}
	})
}

func TestBreaker_halfOpenSendsOneProbeAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, changes := breaking(t)
		down.Store(true)
		trip(t, gateway)
		<-time.After(breakerOpen + 1)
		answer := make(chan struct{})
		transport.answer = func(*http.Request) (*http.Response, error) {
			<-answer
			return response(http.StatusOK, `{"status":"approved"}`), nil
		}
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := gateway.Charge(t.Context(), order("probe")); err != nil {
				t.Errorf("the probe: %v", err)
			}
		})
		synctest.Wait()
		if _, err := gateway.Charge(t.Context(), order("other")); !errors.Is(err, ErrNotSent) {
			t.Errorf("beside the probe: %v, want ErrNotSent", err)
		}
		close(answer)
		group.Wait()
		if _, err := gateway.Charge(t.Context(), order("next")); err != nil {
			t.Errorf("after the probe: %v", err)
		}
		if diff := cmp.Diff([]string{"open", "half-open", "closed"}, changes()); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
	})
}

func TestBreaker_failedProbeOpensItAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, _, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		<-time.After(breakerOpen + 1)
		_, err := gateway.Charge(t.Context(), order("probe"))
		mustBeUnknown(t, "the probe", Result{}, err)
		if err := gateway.Available(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Available = %v after a failed probe, want ErrUnavailable", err)
		}
	})
}

func TestBreaker_probeThatPanicsDoesNotKeepItHalfOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		<-time.After(breakerOpen + 1)
		down.Store(false)
		healthy := transport.answer
		transport.answer = func(*http.Request) (*http.Response, error) { panic("a fault of ours") }
		func() {
			defer func() { _ = recover() }()
			_, _ = gateway.Charge(t.Context(), order("1"))
			t.Error("it did not panic")
		}()
		transport.answer = healthy
		<-time.After(breakerOpen + 1)
		if _, err := gateway.Charge(t.Context(), order("1")); err != nil {
			t.Errorf("Charge = %v", err)
		}
	})
}

// A payment service that accepts connections and never answers.
func TestBreaker_chargesThatHangUntilTheirTimeoutOpenIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, _, _ := breaking(t)
		transport.answer = func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		var group sync.WaitGroup
		for i := range breakerFailures {
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

func TestBreaker_halfOfTheChargesFailingOpensIt(t *testing.T) {
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
				t.Fatalf("the breaker opened after %d charges, want %d", i, breakerMinimum)
			}
			_, _ = gateway.Charge(t.Context(), order(fmt.Sprint(i)))
		}
		if err := gateway.Available(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Available = %v, want ErrUnavailable", err)
		}
	})
}

// Recovery repeats the void of a checkout that the payment service cannot process.
func TestBreaker_failedVoidsAndRefundsDoNotOpenIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, _, down, _ := breaking(t)
		down.Store(true)
		for range 2 * breakerMinimum {
			for _, call := range []string{"void", "refund"} {
				result, err := ask(t.Context(), gateway, call, "poison")
				mustBeUnknown(t, call, result, err)
			}
		}
		if err := gateway.Available(); err != nil {
			t.Errorf("Available = %v", err)
		}
	})
}

func TestBreaker_lateFailuresOfAnEarlierOutageDoNotOpenItAgain(t *testing.T) {
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
		for range 3 * breakerFailures {
			group.Go(func() { _, _ = gateway.Charge(t.Context(), order("hangs")) })
		}
		synctest.Wait()
		down.Store(true)
		trip(t, gateway)
		down.Store(false)
		<-time.After(breakerOpen + 1)
		if _, err := gateway.Charge(t.Context(), order("1")); err != nil {
			t.Fatal(err)
		}
		group.Wait()
		if err := gateway.Available(); err != nil {
			t.Errorf("Available = %v after old charges ended", err)
		}
	})
}

func TestBreaker_callersThatLeaveAreNoFailures(t *testing.T) {
	t.Parallel()
	s, asked := silent(t, "")
	var outcomes sync.Map
	gateway := connect(t, s.URL, Options{Observe: Observer{
		Called: func(_, outcome string, _ time.Duration) { outcomes.Store(outcome, true) },
	}})
	for i := range 2 * breakerMinimum {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-asked
			cancel()
		}()
		result, err := gateway.Charge(ctx, order(fmt.Sprint(i)))
		mustBeUnknown(t, "Charge", result, err)
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("Charge = %v, want it to say that the caller left", err)
		}
	}
	if err := gateway.Available(); err != nil {
		t.Errorf("Available = %v after callers left", err)
	}
	if _, ok := outcomes.Load("cancelled"); !ok {
		t.Error("no call was observed as cancelled")
	}
}

package payment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"slices"
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

// insist asks for a call about one checkout as the Checkout Manager does: with pauses from 50 ms that double
// to 2 s, with jitter, for a lease of 15 s; then whoever claims the checkout begins again. It returns when the
// call is answered or ctx ends.
func insist(ctx context.Context, gateway *HTTPGateway, call, id string) {
	const lease, sweep = 15 * time.Second, 500 * time.Millisecond
	for ctx.Err() == nil {
		until := time.Now().Add(lease)
		for longest := 50 * time.Millisecond; ctx.Err() == nil && time.Now().Before(until); longest = min(2*longest, 2*time.Second) {
			if _, err := ask(ctx, gateway, call, id); err == nil {
				return
			}
			pause(ctx, min(longest/2+rand.N(longest/2), time.Until(until)))
		}
		pause(ctx, sweep/2+rand.N(sweep/2))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// poisoned makes the transport answer whatever is about a checkout whose ID begins with "poison" with a 500.
func poisoned(transport *scripted) {
	healthy := transport.answer
	transport.answer = func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.URL.Path, "/poison") {
			return response(http.StatusInternalServerError, ""), nil
		}
		return healthy(r)
	}
}

// visits are customers who come every 100 ms, ask Available, and buy if they may.
type visits struct {
	customers, refused, failed, unsent int
}

func visit(ctx context.Context, gateway *HTTPGateway, period time.Duration) (v visits) {
	for until := time.Now().Add(period); time.Now().Before(until); pause(ctx, 100*time.Millisecond) {
		v.customers++
		if gateway.Available() != nil {
			v.refused++
			continue
		}
		_, err := gateway.Charge(ctx, order(fmt.Sprintf("customer-%d", time.Now().UnixNano())))
		switch {
		case errors.Is(err, ErrNotSent):
			v.unsent++
		case err != nil:
			v.failed++
		}
	}
	return v
}

func TestOneCheckoutThatTheGatewayCannotDigestDoesNotCloseTheShop(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"void", "refund"} {
		for name, buyEvery := range map[string]int{"to nobody else": 0, "to a customer a second": 10, "to ten customers a second": 1} {
			t.Run(call+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					gateway, transport, _, _ := breaking(t)
					poisoned(transport)
					ctx, cancel := context.WithCancel(t.Context())
					var group sync.WaitGroup
					group.Go(func() { insist(ctx, gateway, call, "poison") })
					refused := 0
					for look := range 1200 {
						switch {
						case gateway.Available() != nil:
							refused++
						case buyEvery > 0 && look%buyEvery == 0:
							if _, err := gateway.Charge(ctx, order(fmt.Sprint(look))); err != nil {
								t.Errorf("Charge = %v", err)
							}
						}
						pause(ctx, 100*time.Millisecond)
					}
					cancel()
					group.Wait()
					if refused > 0 {
						t.Errorf("the shop refused at %d of 1200 looks", refused)
					}
				})
			})
		}
	}
}

func TestACheckoutThatTheGatewayCannotDigestDoesNotProlongAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, changes := breaking(t)
		poisoned(transport)
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		down.Store(true)
		trip(t, gateway)
		for i := range 5 {
			group.Go(func() { insist(ctx, gateway, "void", fmt.Sprint("poison", i)) })
		}
		pause(ctx, time.Minute)
		down.Store(false)
		back := len(changes())

		// Nobody buys for a while, so that the ill checkouts have the breaker for themselves.
		before := transport.attempts.Load()
		pause(ctx, time.Minute)
		if got, want := transport.attempts.Load()-before, int64(3*time.Minute/gateway.tuning.openFor); got > want+3 {
			t.Errorf("repeats of what failed already made %d attempts in a minute, want %d", got, want)
		}
		if got := changes()[back:]; len(got) > 1 {
			t.Errorf("repeats of what failed already changed the breaker: %v", got)
		}
		if got := gateway.breaker.probes; got != 0 {
			t.Errorf("%d probes are under way, though only repeats have been", got)
		}
		got := visit(ctx, gateway, time.Minute)
		if want := (visits{customers: got.customers}); got != want {
			t.Errorf("once the gateway was back: %+v, want none refused, failed or unsent", got)
		}
		cancel()
		group.Wait()
	})
}

func TestVoidsAloneCloseTheBreakerThoughOneOfThemIsNeverAnswered(t *testing.T) {
	t.Parallel()
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("hangs=%v", hangs), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gateway, transport, down, _ := breaking(t)
				poisoned(transport)
				fails := transport.answer
				transport.answer = func(r *http.Request) (*http.Response, error) {
					if hangs && strings.Contains(r.URL.Path, "/poison") {
						<-r.Context().Done()
						return nil, r.Context().Err()
					}
					return fails(r)
				}
				ctx, cancel := context.WithCancel(t.Context())
				down.Store(true)
				trip(t, gateway)
				var group, healthy sync.WaitGroup
				group.Go(func() { insist(ctx, gateway, "void", "poison") })
				for i := range 3 {
					healthy.Go(func() { insist(ctx, gateway, "void", fmt.Sprint(i)) })
				}
				pause(ctx, time.Minute)
				down.Store(false)
				back := time.Now()
				healthy.Wait()
				// A repeat passes every 2 s, and it is the ill one that passes about every other time.
				if took := time.Since(back); took > 40*time.Second {
					t.Errorf("the last void was answered %v after the gateway was back", took)
				}
				if err := gateway.Available(); err != nil {
					t.Errorf("Available = %v", err)
				}
				if got := len(gateway.breaker.probed); got > 0 {
					t.Errorf("closed, the breaker holds the outage against %d checkouts", got)
				}
				cancel()
				group.Wait()
			})
		})
	}
}

func TestADeadGatewayKeepsTheBreakerFromClosing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const period = 2 * time.Minute
		gateway, transport, down, changes := breaking(t)
		down.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for i := range 2 * breakerConsecutive {
			group.Go(func() { insist(ctx, gateway, "void", fmt.Sprint("void-", i)) })
		}
		pause(ctx, time.Second)
		if err := gateway.Available(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Available = %v, want ErrUnavailable: every checkout fails", err)
		}
		before := transport.attempts.Load()
		got := visit(ctx, gateway, period)
		times := int(period / gateway.tuning.openFor)
		if sent := got.customers - got.refused; sent > times || got.unsent > 0 {
			t.Errorf("%d customers were let in, %d of them for nothing; want at most %d, and none", sent, got.unsent, times)
		}
		// A charge, a void that has not failed yet and one that has, three attempts each.
		if sent := int(transport.attempts.Load() - before); sent > 9*times {
			t.Errorf("%d attempts went out in %v, want at most %d", sent, period, 9*times)
		}
		if slices.Contains(changes(), "closed") {
			t.Errorf("the breaker closed: %v", changes())
		}
		cancel()
		group.Wait()
	})
}

func TestCheckoutsThatFailOverAndOverOpenTheBreakerWhenThereAreEnough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, _, _ := breaking(t)
		poisoned(transport)
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		// They come so slowly that no window sees the first failure of more than one.
		for i := range breakerConsecutive {
			if err := gateway.Available(); err != nil {
				t.Errorf("Available = %v, with %d failing checkouts", err, i)
			}
			group.Go(func() { insist(ctx, gateway, "void", fmt.Sprint("poison", i)) })
			pause(ctx, 2*breakerWindow)
		}
		pause(ctx, 20*breakerWindow) // none of them fails quite as often as the window is long
		if len(gateway.breaker.probed) == 0 {
			t.Errorf("the breaker never opened, with %d failing checkouts", breakerConsecutive)
		}
		cancel()
		group.Wait()
	})
}

func TestFailuresWithAnAnswerBetweenThemAreNoOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, _, changes := breaking(t)
		poisoned(transport)
		for i := range 3 * breakerConsecutive {
			_, _ = gateway.Void(t.Context(), fmt.Sprint("poison", i))
			for j := range 2 {
				if _, err := gateway.Charge(t.Context(), order(fmt.Sprint(i, j))); err != nil {
					t.Fatalf("Charge = %v", err)
				}
			}
		}
		if got := changes(); len(got) > 0 {
			t.Errorf("the breaker changed: %v", got)
		}
	})
}

func TestOneOfABurstIsLetInWhenTheBreakerIsHalfOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, _, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		down.Store(false)
		<-time.After(gateway.tuning.openFor + 1)

		var admitted, unsent atomic.Int64
		var group sync.WaitGroup
		for i := range 500 {
			group.Go(func() {
				if err := gateway.Available(); err != nil {
					if !errors.Is(err, ErrUnavailable) {
						t.Errorf("Available = %v", err)
					}
					return
				}
				admitted.Add(1)
				<-time.After(20 * time.Millisecond) // its first transaction
				if _, err := gateway.Charge(t.Context(), order(fmt.Sprint(i))); err != nil {
					unsent.Add(1)
				}
			})
		}
		group.Wait()
		if admitted.Load() != 1 || unsent.Load() != 0 {
			t.Errorf("%d of 500 were admitted, %d of them for nothing; want one, sent", admitted.Load(), unsent.Load())
		}
		for range 500 {
			if err := gateway.Available(); err != nil {
				t.Fatalf("Available = %v after the probe was answered", err)
			}
		}
	})
}

func TestAPlaceThatNobodyTakesIsGivenToAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, _, down, changes := breaking(t)
		down.Store(true)
		trip(t, gateway)
		down.Store(false)
		<-time.After(gateway.tuning.openFor + 1)
		for range 3 { // empty carts
			if err := gateway.Available(); err != nil {
				t.Fatalf("Available = %v, want the place", err)
			}
			<-time.After(promiseLasts - 1)
			if err := gateway.Available(); !errors.Is(err, ErrUnavailable) {
				t.Fatalf("Available = %v, want ErrUnavailable: the place is another's", err)
			}
			<-time.After(1)
		}
		if err := gateway.Available(); err != nil {
			t.Fatalf("Available = %v, want the place", err)
		}
		if _, err := gateway.Charge(t.Context(), order("1")); err != nil {
			t.Errorf("Charge = %v", err)
		}
		if diff := cmp.Diff([]string{"open", "half-open", "closed"}, changes()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
}

func TestThePlaceOfACustomerIsKeptWhileAVoidProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		down.Store(false)
		<-time.After(gateway.tuning.openFor + 1)
		healthy := transport.answer
		transport.answer = func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodDelete {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return healthy(r)
		}
		if err := gateway.Available(); err != nil {
			t.Fatalf("Available = %v, want the place", err)
		}
		var group sync.WaitGroup
		group.Go(func() { _, _ = gateway.Void(t.Context(), "hangs") })
		synctest.Wait()
		if got := gateway.breaker.probes; got != 1 {
			t.Errorf("%d voids probe, want one: who was promised a place may never come", got)
		}
		if _, err := gateway.Charge(t.Context(), order("promised")); err != nil {
			t.Errorf("Charge = %v, though its place was promised", err)
		}
		if err := gateway.Available(); err != nil {
			t.Errorf("Available = %v after the probe was answered", err)
		}
		group.Wait()
	})
}

func TestAProbeThatIsUnderWayWhenTheBreakerOpensLeavesTheNextTimeAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		<-time.After(gateway.tuning.openFor + 1)
		fails := transport.answer
		transport.answer = func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodDelete {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return fails(r)
		}
		if err := gateway.Available(); err != nil {
			t.Fatalf("Available = %v, want the place", err)
		}
		var group sync.WaitGroup
		group.Go(func() { _, _ = gateway.Void(t.Context(), "hangs") })
		synctest.Wait()
		_, _ = gateway.Charge(t.Context(), order("promised")) // fails
		<-time.After(gateway.tuning.openFor + 1)
		if err := gateway.Available(); err != nil {
			t.Errorf("Available = %v, want the place", err)
		}
		group.Wait() // fails too, long after the time it belongs to
		if err := gateway.Available(); err != nil {
			t.Errorf("Available = %v, want the place: an older probe says nothing", err)
		}
		if got := gateway.breaker.probes; got != 0 {
			t.Errorf("%d probes are under way", got)
		}
	})
}

func TestAPlaceIsForOneCharge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, transport, down, _ := breaking(t)
		down.Store(true)
		trip(t, gateway)
		<-time.After(gateway.tuning.openFor + 1)
		transport.answer = func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		if err := gateway.Available(); err != nil {
			t.Fatalf("Available = %v, want the place", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _, _ = gateway.Charge(ctx, order("promised")) })
		synctest.Wait()
		if _, err := gateway.Charge(t.Context(), order("another")); !errors.Is(err, ErrNotSent) {
			t.Errorf("another charge = %v, want ErrNotSent", err)
		}
		cancel()
		group.Wait()
		if err := gateway.Available(); err != nil {
			t.Errorf("Available = %v after the probe's caller left, want the place", err)
		}
	})
}

func TestASecondOutageOpensTheBreakerLikeTheFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, _, down, changes := breaking(t)
		for range 2 {
			down.Store(true)
			trip(t, gateway)
			<-time.After(gateway.tuning.openFor + 1)
			_, err := gateway.Void(t.Context(), "1")
			mustBeUnknown(t, "Void", Result{}, err)
			down.Store(false)
			<-time.After(gateway.tuning.openFor + 1)
			if _, err := gateway.Void(t.Context(), "1"); err != nil {
				t.Errorf("Void = %v once the gateway is back", err)
			}
		}
		once := []string{"open", "half-open", "open", "half-open", "closed"}
		if diff := cmp.Diff(slices.Concat(once, once), changes()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
}

func TestTheBreakerRemembersABoundedNumberOfCheckouts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gateway, _, _, changes := breaking(t)
		b := gateway.breaker
		call := func(id string, charge bool, result error) {
			leave, err := b.enter(id, charge)
			if err != nil {
				t.Fatal(err)
			}
			leave(result)
		}
		for i := range 3 * maxRemembered {
			call(fmt.Sprint(i), false, errGatewayFailed)
			call("healthy", true, nil)
			call("healthy", true, nil)
		}
		if got := len(b.counted); got != maxRemembered {
			t.Errorf("closed, it remembers %d checkouts, want %d", got, maxRemembered)
		}
		<-time.After(breakerWindow)
		call("late", false, errGatewayFailed)
		if got := len(b.counted); got != 1 {
			t.Errorf("a window later it remembers %d checkouts, want the last", got)
		}
		for i := range maxRemembered {
			call(fmt.Sprint(i), false, errGatewayFailed)
			call("healthy", true, nil)
			call("healthy", true, nil)
		}
		for i := range breakerConsecutive {
			call(fmt.Sprint("new-", i), false, errGatewayFailed)
		}
		if !b.open() {
			t.Error("it overlooks failures because it remembers too many")
		}
		for i := range 3 * maxRemembered {
			<-time.After(gateway.tuning.openFor + 1)
			call(fmt.Sprint(i), false, errGatewayFailed)
			if got := len(b.probed); got > maxRemembered {
				t.Fatalf("half-open, it remembers %d checkouts, want at most %d", got, maxRemembered)
			}
		}
		if slices.Contains(changes(), "closed") {
			t.Error("the breaker closed")
		}
	})
}

package e2e

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"net/http"
	"net/http/httptest"
)

// slow lets a gateway take its time for charges.
func slow(t *testing.T, gateway http.Handler, delay time.Duration) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			timer := time.NewTimer(delay)
			defer timer.Stop()
			<-timer.C
		}
		gateway.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// begin starts so many checkouts of one lamp each and returns when all are in flight. wait waits for their answers.
func begin(t *testing.T, s store, shop *instance, n int) (wait func()) {
	t.Helper()
	for i := range n {
		shop.want(t, 200, addition(fmt.Sprint("buyer-", i), "lamp", 1))
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var buyers sync.WaitGroup
	for i := range n {
		buyers.Go(func() { shop.send(ctx, purchase(fmt.Sprint("buyer-", i))) })
	}
	eventually(t, 10*time.Second, "all checkouts are in flight", func() bool { return s.books(t).open() == n })
	return buyers.Wait
}

func TestAfterKill9TheEmbeddedEngineSettlesEveryOpenCheckoutWithinTwoSecondsOfItsStart(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	till := openTill(t)
	const buyers = 150
	shop := start(t, s, "--payment-url", slow(t, till, 5*time.Second))
	s.stock(t, map[string]int{"lamp": 1000})
	wait := begin(t, s, shop, buyers)
	shop.kill()
	wait()

	again := start(t, s, "--payment-url", till.url)
	eventually(t, 2*time.Second-time.Since(again.started), "every checkout is settled", func() bool { return s.books(t).open() == 0 })
	t.Logf("settled %d checkouts %v after the start", buyers, time.Since(again.started))
	b := s.books(t)
	b.balance(t, map[string]int{"lamp": 1000})
	b.agrees(t, till.Payments())
	if got := b.accountedFor(); got != buyers {
		t.Errorf("%d lamps are in carts and checkouts, %d were added", got, buyers)
	}
	again.want(t, 200, purchase("buyer-0"))
}

func TestAfterKill9AnotherInstanceSettlesEveryOpenCheckoutWithinTheLeaseAndTwoSeconds(t *testing.T) {
	t.Parallel()
	s := mysqlStore(t)
	till := openTill(t)
	const buyers, lease = 150, 4 * time.Second
	times := []string{"--payment-timeout", "2s", "--checkout-lease", lease.String()}
	victim := start(t, s, append(times, "--payment-url", slow(t, till, 5*time.Second))...)
	start(t, s, append(times, "--payment-url", till.url)...)
	s.stock(t, map[string]int{"lamp": 1000})
	wait := begin(t, s, victim, buyers)
	victim.kill()
	killed := time.Now()
	wait()

	eventually(t, lease+2*time.Second-time.Since(killed), "every checkout is settled", func() bool { return s.books(t).open() == 0 })
	t.Logf("settled %d checkouts %v after the kill", buyers, time.Since(killed))
	b := s.books(t)
	b.balance(t, map[string]int{"lamp": 1000})
	if got := b.accountedFor(); got != buyers {
		t.Errorf("%d lamps are in carts and checkouts, %d were added", got, buyers)
	}
	// The charges that were on their way when the owner died arrive now, at a till that was told to void them.
	eventually(t, 6*time.Second, "the late charges have arrived", func() bool { return len(till.Payments()) == buyers })
	b.agrees(t, till.Payments())
}

func TestAnInstanceThatWasStoppedPastItsLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	s := mysqlStore(t)
	till := openTill(t)
	times := []string{"--payment-timeout", "4s", "--checkout-lease", "6s"}
	arrived := make(chan struct{}, 1)
	gateway := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		till.ServeHTTP(httptest.NewRecorder(), r) // the money is taken, and the answer comes too late
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(gateway.Close)
	paused := start(t, s, append(times, "--payment-url", gateway.URL)...)
	start(t, s, append(times, "--payment-url", till.url)...)
	s.stock(t, map[string]int{"lamp": 10})
	paused.want(t, 200, addition("ann", "lamp", 1))
	answer := make(chan reply, 1)
	go func() { answer <- paused.send(context.Background(), purchase("ann")) }()
	<-arrived
	paused.signal(syscall.SIGSTOP)
	// The other instance asks, learns that it did, and commits.
	eventually(t, 9*time.Second, "the other instance has settled it", func() bool { return s.books(t).open() == 0 })
	settled := s.books(t).checkouts[0]
	if settled.Epoch != 2 {
		t.Errorf("it was settled under epoch %d, want the other instance's: 2", settled.Epoch)
	}
	paused.signal(syscall.SIGCONT)
	if got := <-answer; got.Code != 200 {
		t.Errorf("the caller got %v, want what the journal says: 200", got)
	}
	b := s.books(t)
	if got := b.checkouts[0]; got.State != settled.State || !got.UpdatedAt.Equal(settled.UpdatedAt) {
		t.Errorf("the journal changed after the end: from %v to %v", settled, got)
	}
	b.balance(t, map[string]int{"lamp": 10})
	b.agrees(t, till.Payments())
}

func TestFiftyRepeatsOfOneKeyOverTwoInstancesAndARestartHaveOneEffectAndOneAnswer(t *testing.T) {
	t.Parallel()
	s := mysqlStore(t)
	till := openTill(t)
	gateway := slow(t, till, 300*time.Millisecond)
	one, two := start(t, s, "--payment-url", gateway), start(t, s, "--payment-url", gateway)
	s.stock(t, map[string]int{"lamp": 100})

	bodies := map[string]int{}
	var mu sync.Mutex
	volley := func(n int, r request, instances ...*instance) {
		var callers sync.WaitGroup
		for i := range n {
			callers.Go(func() {
				got := instances[i%len(instances)].send(t.Context(), r)
				mu.Lock()
				defer mu.Unlock()
				bodies[fmt.Sprint(got.Code, got.Body)]++
			})
		}
		callers.Wait()
	}
	volley(25, addition("ann", "lamp", 2).withKey("add-1"), one, two)
	volley(25, purchase("ann").withKey("buy-1"), one, two)
	if status := one.stop(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	one = start(t, s, "--payment-url", gateway)
	volley(25, addition("ann", "lamp", 2).withKey("add-1"), one, two)
	volley(25, purchase("ann").withKey("buy-1"), one, two)
	if len(bodies) != 1 || bodies["200{\"status\":\"Success\",\"error\":\"\"}\n"] != 100 {
		t.Errorf("got the answers %v, want one answer 100 times", bodies)
	}
	if got := one.send(t.Context(), addition("ann", "lamp", 3).withKey("add-1")); got.Code != 422 {
		t.Errorf("the key with another request: got %v, want 422", got)
	}
	b := s.books(t)
	if b.accountedFor() != 2 || till.Totals().Captures != 1 {
		t.Errorf("%d units and %d captures, want 2 and 1", b.accountedFor(), till.Totals().Captures)
	}
	b.balance(t, map[string]int{"lamp": 100})
}

func TestSIGTERMUnderLoadLosesNothingThatWasAnswered(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		till := openTill(t)
		shop := start(t, s, "--payment-url", slow(t, till, 200*time.Millisecond))
		s.stock(t, map[string]int{"lamp": 100_000})
		var mu sync.Mutex
		var added, uncertain, sold, unsure int64
		var clients sync.WaitGroup
		stopping := make(chan struct{})
		for n := range 64 {
			clients.Go(func() {
				client := fmt.Sprint("client-", n)
				for {
					add := shop.send(context.Background(), addition(client, "lamp", 1))
					buy := shop.send(context.Background(), purchase(client))
					mu.Lock()
					switch add.Code {
					case 200:
						added++
					case 0, 504:
						uncertain++
					}
					switch buy.Code {
					case 200:
						sold++
					case 0, 202, 504:
						unsure++
					}
					mu.Unlock()
					select {
					case <-stopping:
						return
					default:
					}
				}
			})
		}
		eventually(t, 20*time.Second, "the shop is busy", func() bool { mu.Lock(); defer mu.Unlock(); return sold > 100 })
		shop.signal(syscall.SIGTERM)
		status := shop.exit(30 * time.Second)
		close(stopping)
		clients.Wait()
		if status != 0 {
			t.Errorf("exit status %d, want 0", status)
		}
		b := s.books(t)
		b.balance(t, map[string]int{"lamp": 100_000})
		b.agrees(t, till.Payments())
		if got := b.accountedFor(); got < added || got > added+uncertain {
			t.Errorf("promise A: %d units are stored, %d were answered Success and %d not at all", got, added, uncertain)
		}
		if got := b.sold()["lamp"]; got < sold {
			t.Errorf("%d lamps are sold, but %d checkouts were answered Success", got, sold)
		}
		t.Logf("%d adds, %d sold, %d and %d unanswered", added, sold, uncertain, unsure)
	})
}

func TestADrainThatRunsOutOfTimeAnswersPendingAndTheNextRunRecovers(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		till := openTill(t)
		shop := start(t, s, "--payment-url", slow(t, till, 8*time.Second), "--drain-timeout", "500ms")
		s.stock(t, map[string]int{"lamp": 10})
		shop.want(t, 200, addition("ann", "lamp", 1))
		answer := make(chan reply, 1)
		go func() { answer <- shop.send(context.Background(), purchase("ann").withKey("k")) }()
		eventually(t, 5*time.Second, "the checkout is in flight", func() bool { return s.books(t).open() == 1 })
		if status := shop.stop(); status != 0 {
			t.Errorf("exit status %d, want 0", status)
		}
		pending := <-answer
		if pending.Code != 202 || pending.Status != "Pending" {
			t.Errorf("the caller got %v, want 202", pending)
		}
		again := start(t, s, "--payment-url", till.url)
		eventually(t, 2*time.Second, "it is settled", func() bool { return s.books(t).open() == 0 })
		if got := again.send(t.Context(), purchase("ann").withKey("k")); got.Code != 402 {
			t.Errorf("the repeat got %v, want the end: 402", got)
		}
		s.books(t).balance(t, map[string]int{"lamp": 10})
	})
}

func TestASecondSIGTERMEndsAtOnceAndIsRecoveredFrom(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	till := openTill(t)
	shop := start(t, s, "--payment-url", slow(t, till, 8*time.Second))
	s.stock(t, map[string]int{"lamp": 10})
	wait := begin(t, s, shop, 5)
	shop.signal(syscall.SIGTERM)
	eventually(t, 5*time.Second, "it is draining", func() bool {
		return shop.log.attribute("shutting down: finishing what is under way", "level") != ""
	})
	shop.signal(syscall.SIGTERM)
	if status := shop.exit(2 * time.Second); status == 0 {
		t.Error("exit status 0, want that of a process ended by a signal")
	}
	wait()
	start(t, s, "--payment-url", till.url)
	eventually(t, 2*time.Second, "every checkout is settled", func() bool { return s.books(t).open() == 0 })
	s.books(t).balance(t, map[string]int{"lamp": 10})
}

func TestFiveInstancesMayStartAtOnceOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	s := mysqlStore(t)
	var instances []*instance
	for range 5 {
		instances = append(instances, launch(t, s))
	}
	for _, i := range instances {
		i.await()
	}
	s.stock(t, map[string]int{"lamp": 5})
	for n, i := range instances {
		client := fmt.Sprint("client-", n)
		i.want(t, 200, addition(client, "lamp", 1))
		i.want(t, 200, purchase(client))
	}
	s.books(t).balance(t, map[string]int{"lamp": 5})
}

func TestTwoServersCannotShareADataDirectory(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	start(t, s)
	second := launch(t, s)
	if status := second.exit(10 * time.Second); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if log := second.log.String(); !containsAll(log, "data directory", "in use by another server") {
		t.Errorf("it says: %s", log)
	}
}

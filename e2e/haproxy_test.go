package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cartwheel/database/databasetest"
)

// proxied starts HAProxy with deploy/haproxy.cfg before the instances, and returns what clients
// see.
func proxied(t *testing.T, instances ...*instance) *instance {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/haproxy"); err != nil {
			databasetest.SkipUnlessCI(t, "there is no haproxy: make test installs it")
		}
	}
	address := freeAddress(t)
	proxy := &instance{t: t, command: exec.Command(program, "-f", "../deploy/haproxy.cfg"), base: "http://" + address,
		log: &logBuffer{}, ended: make(chan struct{})}
	proxy.command.Env = append(cleanEnvironment(), "LISTEN="+address)
	for n, i := range instances {
		proxy.command.Env = append(proxy.command.Env, fmt.Sprintf("INSTANCE%d=%s", n+1, strings.TrimPrefix(i.base, "http://")))
	}
	proxy.command.Stdout, proxy.command.Stderr = proxy.log, proxy.log
	if err := proxy.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = proxy.command.Wait() // its log says why
		close(proxy.ended)
	}()
	t.Cleanup(func() {
		proxy.kill()
		if t.Failed() {
			t.Logf("the proxy's log ends:\n%s", lastLines(proxy.log.String(), 30))
		}
	})
	eventually(t, 10*time.Second, "the proxy answers", func() bool {
		response, err := shopping.Get(proxy.base + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return proxy
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func TestHAProxy_instanceEndCostsItsRequestsOnly(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s store) {
		const clients = 24
		instances := []*instance{
			start(t, s, "--checkout-lease", "4s", "--payment-timeout", "2s"),
			start(t, s, "--checkout-lease", "4s", "--payment-timeout", "2s"),
			start(t, s, "--checkout-lease", "4s", "--payment-timeout", "2s"),
		}
		s.stock(t, map[string]int{"plenty": 10_000_000})
		proxy := proxied(t, instances...)

		// Each client adds a unit and buys it, again and again, and repeats what failed with the
		// same key. A checkout that an instance could not finish may end voided: that is its key's
		// answer, and the next one buys what stayed in the cart.
		var stop atomic.Bool
		var answered, failed, sold atomic.Int64
		insist := func(r request) (done bool) {
			for try := 0; ; try++ {
				got := proxy.send(t.Context(), r)
				answered.Add(1)
				switch {
				case got.Code == 200:
					return true
				case unpaid(got):
					failed.Add(1)
					return false
				case got.Code == 202 && try < 200:
					pause(t.Context(), 50*time.Millisecond) // its instance is gone, its lease not over: it is under way
					continue
				case try >= 200:
					t.Errorf("%s %v is still answered %v", r.path, r.body, got)
					return false
				}
				failed.Add(1)
				pause(t.Context(), 50*time.Millisecond)
			}
		}
		var shoppers sync.WaitGroup
		for n := range clients {
			shoppers.Go(func() {
				client := fmt.Sprintf("client-%d", n)
				inCart := int64(0)
				for round := 0; !stop.Load() || inCart > 0; round++ {
					if insist(addition(client, "plenty", 1).withKey(fmt.Sprintf("add-%d", round))) {
						inCart++
					}
					if insist(purchase(client).withKey(fmt.Sprintf("buy-%d", round))) {
						sold.Add(inCart)
						inCart = 0
					}
				}
			})
		}
		running := func(more int64) {
			t.Helper()
			until := answered.Load() + more
			eventually(t, 30*time.Second, "requests go on", func() bool { return answered.Load() >= until })
		}
		running(1000)
		if n := failed.Load(); n != 0 {
			t.Errorf("%d requests failed while nothing happened", n)
		}

		instances[0].kill()
		running(2000)
		byKill := failed.Load()
		if byKill > clients {
			t.Errorf("%d requests failed when an instance was killed, want the at most %d that were under way", byKill, clients)
		}

		if status := instances[1].stop(); status != 0 {
			t.Errorf("exit status %d", status)
		}
		running(2000)
		byStop := failed.Load() - byKill
		if byStop > clients {
			t.Errorf("%d requests failed when an instance was stopped, want at most %d", byStop, clients)
		}
		stop.Store(true)
		shoppers.Wait()
		t.Logf("of %d requests, %d failed by a kill -9 and %d by a stop of one of three instances, with %d clients at once",
			answered.Load(), byKill, byStop, clients)

		eventually(t, 10*time.Second, "nothing is held", func() bool { return s.snapshot(t).held["plenty"] == 0 })
		if got, want := int64(10_000_000)-s.snapshot(t).onHand["plenty"], sold.Load(); got != want {
			t.Errorf("%d units are sold, the clients bought %d", got, want)
		}
		if out, errs, status := run(t, s, nil, "audit"); status != 0 {
			t.Errorf("audit: status %d: %s%s", status, out, errs)
		}
	})
}

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	var addresses []string
	for _, i := range instances {
		addresses = append(addresses, strings.TrimPrefix(i.base, "http://"))
	}
	proxy := startHAProxy(t, "../deploy/haproxy.cfg", addresses...)
	eventually(t, soon, "the proxy answers", proxy.isReady)
	return proxy
}

// startHAProxy starts HAProxy before addresses.
func startHAProxy(t *testing.T, config string, addresses ...string) *instance {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/haproxy"); err != nil {
			databasetest.SkipUnlessCI(t, "there is no haproxy: make test installs it")
		}
	}
	address := freeAddress(t)
	proxy := &instance{t: t, command: exec.Command(program, "-f", config), base: "http://" + address, log: &logBuffer{}, ended: make(chan struct{})}
	proxy.command.Env = append(cleanEnvironment(), "LISTEN="+address)
	for n, address := range addresses {
		proxy.command.Env = append(proxy.command.Env, fmt.Sprintf("INSTANCE%d=%s", n+1, address))
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
	return proxy
}

// A client that knows the API's form needs no other one for what the proxy answers by itself.
func TestHAProxy_ownErrorsHaveTheAPIsForm(t *testing.T) {
	t.Parallel()
	instances := map[string]http.HandlerFunc{ // by what they do with a request that is no probe
		"502": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"503": nil,
		"504": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then is the end of the connection seen
			<-r.Context().Done()
		},
	}
	for name, handler := range instances {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t) // where nothing listens
			if handler != nil {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/readyz" {
						handler(w, r)
					}
				}))
				t.Cleanup(server.Close)
				address = strings.TrimPrefix(server.URL, "http://")
			}
			proxy := startHAProxy(t, withServerTimeout(t, "500ms"), address, address, address)
			eventually(t, soon, "the proxy answers", func() bool {
				response, err := shopping.Get(proxy.base + "/readyz")
				return err == nil && response.Body.Close() == nil
			})
			wantAPIError(t, proxy, name)
		})
	}
}

// withServerTimeout returns deploy/haproxy.cfg with another time until an instance is given up.
func withServerTimeout(t *testing.T, timeout string) string {
	t.Helper()
	const shipped = "timeout server 30s"
	config, err := os.ReadFile("../deploy/haproxy.cfg")
	if err != nil || !strings.Contains(string(config), shipped) {
		t.Fatalf("no %q in the configuration: %v", shipped, err)
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, []byte(strings.Replace(string(config), shipped, "timeout server "+timeout, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantAPIError sends an add, and wants it to fail with a code in the API's form.
func wantAPIError(t *testing.T, proxy *instance, code string) {
	t.Helper()
	// On a connection of its own: on a later request of one, HAProxy may close it instead of saying
	// 502.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Post(proxy.base+"/addToCart", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	decoder := json.NewDecoder(response.Body)
	decoder.DisallowUnknownFields()
	var body struct{ Status, Error string }
	if err := decoder.Decode(&body); err != nil || body.Status != "Failed" || body.Error == "" {
		t.Errorf("the body is %+v, %v", body, err)
	}
	want := map[string]string{"Content-Type": "application/json", "Cartwheel-Error": "unknown", "Retry-After": "1"}
	if code == "503" {
		want["Cartwheel-Error"] = "busy"
	}
	for name, value := range want {
		if got := response.Header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if got := strconv.Itoa(response.StatusCode); got != code {
		t.Errorf("answered %s, want %s", got, code)
	}
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
			eventually(t, soon, "requests go on", func() bool { return answered.Load() >= until })
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

		eventually(t, soon, "nothing is held", func() bool { return s.snapshot(t).held["plenty"] == 0 })
		if got, want := int64(10_000_000)-s.snapshot(t).onHand["plenty"], sold.Load(); got != want {
			t.Errorf("%d units are sold, the clients bought %d", got, want)
		}
		if out, errs, status := run(t, s, nil, "audit"); status != 0 {
			t.Errorf("audit: status %d: %s%s", status, out, errs)
		}
	})
}

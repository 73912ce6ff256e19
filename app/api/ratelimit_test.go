package api

import (
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
)

func TestRateLimit_refusesAboveTheLimit(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{RateLimit: 0.4}) // one at once, the next after 2.5 s
	checkAnswer(t, s.do("POST", "/addToCart", validAdd), 200, "")
	for range 2 {
		got := s.do("POST", "/addToCart", validAdd)
		checkAnswer(t, got, 429, "too many requests")
		if got.header.Get("Retry-After") != "3" {
			t.Errorf("got Retry-After %q, want 3", got.header.Get("Retry-After"))
		}
	}
	checkAnswer(t, s.do("GET", "/nothing", ""), 429, "too many requests")
	if s.shop.calls() != 1 {
		t.Errorf("the shop was asked %d times, want once", s.shop.calls())
	}
	if s.log.String() != "" {
		t.Errorf("a caller's haste is logged: %s", s.log)
	}
	for _, free := range []string{"/healthz", "/readyz", "/documentation/"} {
		if got := s.do("GET", free, ""); got.code != 200 {
			t.Errorf("GET %s: got %d", free, got.code)
		}
	}
}

func TestRateLimit_refillsPerAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limits := newRateLimits(2)
		a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

		for _, want := range []time.Duration{0, 0, 500 * time.Millisecond} {
			if got := limits.take(a); got != want {
				t.Errorf("got a wait of %s, want %s", got, want)
			}
		}
		if got := limits.take(b); got != 0 {
			t.Errorf("the other address waits %s", got)
		}
		<-time.After(500 * time.Millisecond)
		if got := limits.take(a); got != 0 {
			t.Errorf("half a second later it still waits %s", got)
		}
	})
}

func TestRateLimit_remembersABoundedNumberOfAddresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limits := newRateLimits(1)
		limits.byAddr.Resize(3)
		address := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }

		for _, n := range []byte{1, 2, 3} {
			limits.take(address(n))
		}
		limits.take(address(1)) // seen again: 2 is now the one that was quiet for longest
		limits.take(address(4))
		if limits.byAddr.Len() != 3 {
			t.Fatalf("got %d addresses, want 3", limits.byAddr.Len())
		}
		if limits.byAddr.Contains(address(2)) {
			t.Error("the address that was quiet for longest is kept")
		}
		if limits.take(address(1)) == 0 {
			t.Error("an address that was kept has its limit forgotten")
		}
	})
}

func TestRateLimit_countsIPv6ClientsByNetwork(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.1:5000":                    "192.0.2.1",
		"[::ffff:192.0.2.1]:5000":           "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:5000":       "2001:db8:1:2::",
		"[fe80::1%eth0]:5000":               "fe80::",
		"[2001:db8:1:2:ffff:ffff:0:1]:5001": "2001:db8:1:2::",
	} {
		if got := addressFrom(remote, "", nil); got != netip.MustParseAddr(want) {
			t.Errorf("%s counts for %s, want %s", remote, got, want)
		}
	}
}

// addressFrom is the address that a request counts for which came from remote with X-Forwarded-For.
func addressFrom(remote, forwarded string, trusted []*net.IPNet) netip.Addr {
	e := echo.New()
	e.IPExtractor = addressOf(trusted)
	r := &http.Request{RemoteAddr: remote, Header: http.Header{}}
	if forwarded != "" {
		r.Header["X-Forwarded-For"] = []string{forwarded}
	}
	return clientAddress(e.NewContext(r, nil))
}

func TestRateLimit_believesTrustedProxiesOnly(t *testing.T) {
	t.Parallel()
	_, proxies, err := net.ParseCIDR("10.1.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	trusted := []*net.IPNet{proxies}
	for _, test := range []struct {
		remote, forwarded, want string
		trusted                 []*net.IPNet
	}{
		{"192.0.2.1:1", "198.51.100.7", "192.0.2.1", nil},
		{"192.0.2.1:1", "198.51.100.7", "192.0.2.1", trusted},
		{"127.0.0.1:1", "198.51.100.7", "127.0.0.1", trusted}, // loopback is not trusted by itself
		{"10.2.0.1:1", "198.51.100.7", "10.2.0.1", trusted},   // nor is a private network
		{"10.1.0.1:1", "198.51.100.7", "198.51.100.7", trusted},
		{"10.1.0.1:1", "203.0.113.9, 198.51.100.7, 10.1.0.2", "198.51.100.7", trusted}, // the first is the client's own claim
		{"10.1.0.1:1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", trusted},
		{"10.1.0.1:1", "198.51.100.7, rubbish", "10.1.0.1", trusted},
		{"10.1.0.1:1", "", "10.1.0.1", trusted},
	} {
		if got := addressFrom(test.remote, test.forwarded, test.trusted); got != netip.MustParseAddr(test.want) {
			t.Errorf("%+v counts for %s", test, got)
		}
	}
}

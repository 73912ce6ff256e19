package api

import (
	"net/http"
	"net/netip"
	"testing"
	"time"
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
	now := time.Unix(1_000_000, 0)
	limits := newRateLimits(2)
	limits.now = func() time.Time { return now }
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

	for _, want := range []time.Duration{0, 0, 500 * time.Millisecond} {
		if got := limits.take(a); got != want {
			t.Errorf("got a wait of %s, want %s", got, want)
		}
	}
	if got := limits.take(b); got != 0 {
		t.Errorf("the other address waits %s", got)
	}
	now = now.Add(500 * time.Millisecond)
	if got := limits.take(a); got != 0 {
		t.Errorf("half a second later it still waits %s", got)
	}
}

func TestRateLimit_remembersABoundedNumberOfAddresses(t *testing.T) {
	t.Parallel()
	limits := newRateLimits(1)
	limits.most = 3
	limits.now = func() time.Time { return time.Unix(1_000_000, 0) }
	address := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }

	for _, n := range []byte{1, 2, 3} {
		limits.take(address(n))
	}
	limits.take(address(1)) // seen again: 2 is now the one that was quiet for longest
	limits.take(address(4))
	if len(limits.byAddr) != 3 || limits.recent.Len() != 3 {
		t.Fatalf("got %d addresses in the table, %d in the list, want 3", len(limits.byAddr), limits.recent.Len())
	}
	if _, kept := limits.byAddr[address(2)]; kept {
		t.Error("the address that was quiet for longest is kept")
	}
	if limits.take(address(1)) == 0 {
		t.Error("an address that was kept has its limit forgotten")
	}
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
		if got := clientAddress(&http.Request{RemoteAddr: remote}); got != netip.MustParseAddr(want) {
			t.Errorf("%s counts for %s, want %s", remote, got, want)
		}
	}
	spoofed := &http.Request{RemoteAddr: "192.0.2.1:1", Header: http.Header{"X-Forwarded-For": {"198.51.100.7"}}}
	if got := clientAddress(spoofed); got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("a header makes the request count for %s", got)
	}
}

package api

import (
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"
)

// maxAddresses is the maximum number of client addresses that are remembered, at about 200 bytes
// each. Beyond it, the least recently seen one is forgotten.
const maxAddresses = 16_384

// rateLimits bounds how many requests a second one client address makes.
type rateLimits struct {
	perSecond rate.Limit
	burst     int
	byAddr    *lru.Cache[netip.Addr, *rate.Limiter]
}

func newRateLimits(perSecond float64) *rateLimits {
	limits := &rateLimits{perSecond: rate.Limit(perSecond), burst: max(1, int(math.Ceil(perSecond)))}
	limits.byAddr, _ = lru.New[netip.Addr, *rate.Limiter](maxAddresses) // fails for a size below 1 alone
	return limits
}

// limitRate refuses with 429 the requests over the limit. Probes and the documentation are
// free: a load balancer must never take an instance out because it asks too often, and the page
// loads many files at once.
func (l *rateLimits) limitRate(next echo.HandlerFunc) echo.HandlerFunc {
	if l.perSecond <= 0 {
		return next
	}
	return func(c echo.Context) error {
		if isFreeOfLimit(c.Request().URL.Path) {
			return next(c)
		}
		if wait := l.take(clientAddress(c)); wait > 0 {
			return &failure{http.StatusTooManyRequests, "rate_limited", int(math.Ceil(wait.Seconds())),
				"too many requests from this address, nothing was done: try again"}
		}
		return next(c)
	}
}

func isFreeOfLimit(path string) bool {
	return path == PathHealthz || path == PathReadyz || path == PathDocumentation || strings.HasPrefix(path, PathDocumentation+"/")
}

// take counts a request of addr. It returns how long to wait before the next has a chance, or 0
// where this one is within the limit.
func (l *rateLimits) take(addr netip.Addr) (wait time.Duration) {
	limit := l.of(addr)
	if limit.Allow() {
		return 0
	}
	missing := 1 - limit.Tokens()
	return max(time.Duration(missing/float64(l.perSecond)*float64(time.Second)), 1)
}

func (l *rateLimits) of(addr netip.Addr) *rate.Limiter {
	if limit, known := l.byAddr.Get(addr); known {
		return limit
	}
	fresh := rate.NewLimiter(l.perSecond, l.burst)
	if limit, known, _ := l.byAddr.PeekOrAdd(addr, fresh); known { // a request at the same time
		return limit
	}
	return fresh
}

// clientAddress is the address that a request counts for: of X-Forwarded-For only what trusted
// proxies wrote.
func clientAddress(c echo.Context) netip.Addr {
	addr, _ := netip.ParseAddr(c.RealIP())
	return clientNetwork(addr)
}

// addressOf returns the function that finds a request's client address. From the end of
// X-Forwarded-For it is the first that is no trusted proxy's; anyone can write the rest.
func addressOf(trusted []*net.IPNet) echo.IPExtractor {
	if len(trusted) == 0 {
		return echo.ExtractIPDirect()
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, proxies := range trusted {
		options = append(options, echo.TrustIPRange(proxies))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}

// clientNetwork returns the part of an address that identifies a client: of IPv6 the /64 network.
func clientNetwork(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	network, _ := addr.Prefix(64)
	return network.Addr()
}

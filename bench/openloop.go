package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// An offer is load that does not wait for answers: requests come at their times, whatever became of
// those before.
//
// Its generator is one thread and one system call each way a request. vegeta was tried: on the two
// cores that it shares with the server, its own 99th percentile at 12,000 requests a second was 15
// ms against the null shop.
type offer struct {
	base        string // URL
	what        string // add or checkout
	rate        float64
	requests    int
	connections int
	// drop gives a request up whose time comes while all connections are busy; else it waits for
	// one, and its latency counts from when it should have been sent.
	drop bool
	// enough ends the offer before all requests are sent. nil: never.
	enough func() bool
	body   func(n int, into []byte) []byte // the n-th request's
}

// atOnce is a rate that keeps all connections busy.
const atOnce = math.MaxFloat64

// A taking is what became of an offer.
type taking struct {
	sent, dropped, failed int // failed: broken connections, and no answer
	statuses              map[int]int
	took                  time.Duration   // from the first request's time to the last answer
	succeeded, refused    []time.Duration // latencies, sorted
	successes             []time.Duration // when they came, counted from the first request's time
}

// goodput is how many requests a second succeeded from one moment to another.
func (t *taking) goodput(from, to time.Duration) float64 {
	n := 0
	for _, at := range t.successes {
		if at >= from && at < to {
			n++
		}
	}
	return float64(n) / (to - from).Seconds()
}

// cost returns the percentiles of the successes.
func (t *taking) cost() *cost {
	return &cost{P50: percentile(t.succeeded, 50), P99: percentile(t.succeeded, 99), P999: percentile(t.succeeded, 99.9)}
}

func (t *taking) sort() {
	slices.Sort(t.succeeded)
	slices.Sort(t.refused)
}

// clean says what went wrong where all was to succeed.
func (t *taking) clean() error {
	if t.failed+t.dropped == 0 && len(t.statuses) == 1 && t.statuses[200] > 0 {
		return nil
	}
	return fmt.Errorf("of %d requests that were sent %d failed, %d were not sent, and the answers are %v", t.sent, t.failed, t.dropped, t.statuses)
}

// percentile returns that of sorted latencies in ms.
func percentile(sorted []time.Duration, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return float64(sorted[int(float64(len(sorted)-1)*p/100)].Microseconds()) / 1e3
}

// randomAdds are adds of random clients and products.
func randomAdds(seed, clients, products int) func(int, []byte) []byte {
	return func(n int, into []byte) []byte {
		r := mix(uint64(seed)<<32 + uint64(n))
		return fmt.Appendf(into, `{"clientID":"c%07d","productID":"p%05d","quantity":1}`, int(r%uint64(clients)), int(r>>32%uint64(products)))
	}
}

// checkoutsOf go through a prefix's clients.
func checkoutsOf(prefix string, first int) func(int, []byte) []byte {
	return func(n int, into []byte) []byte {
		return fmt.Appendf(into, `{"clientID":"%s%07d"}`, prefix, first+n)
	}
}

// mix makes a number of another that looks random (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func pathOf(what string) string {
	if what == add {
		return "/addToCart"
	}
	return "/checkOutCart"
}

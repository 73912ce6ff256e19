package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// heapRoom is how much, in bytes, the heap may grow from one garbage collection to the next, where what is in use is less than
	// that. A server with few connections keeps some 4 MiB: as Go comes it would collect after 4 MiB more, twelve times a second at
	// 10,000 requests, and each time its answers wait for milliseconds. Stacks, which the runtime counts as well, make it more: where next
	// to nothing is in use, up to 30 MiB.
	heapRoom = 16 << 20
	// usualPercent is GOGC as Go comes: the heap may grow by what is in use.
	usualPercent = 100

	liveHeap = "/gc/heap/live:bytes"
)

// A collectionPace sets GOGC after each garbage collection.
type collectionPace struct {
	mu      sync.Mutex
	stopped bool
	percent int
	sample  []metrics.Sample
}

// giveHeapRoom has garbage collected only when the heap has grown by heapRoom or, as usual, by what is in use. Where GOGC or
// GOMEMLIMIT is set it does nothing. The caller ends it with stop; a repeat is harmless.
func giveHeapRoom() (stop func()) {
	for _, set := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(set) != "" {
			return func() {}
		}
	}
	p := &collectionPace{percent: usualPercent, sample: []metrics.Sample{{Name: liveHeap}}}
	p.collected()
	return p.stop
}

// collected is called after each collection, and has itself called after the next.
func (p *collectionPace) collected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	metrics.Read(p.sample)
	p.set(percentFor(p.sample[0].Value.Uint64()))
	type unreachable struct{ _ [32]byte }
	runtime.AddCleanup(&unreachable{}, func(p *collectionPace) { p.collected() }, p)
}

// percentFor returns the GOGC with which a heap of so many bytes in use has its room.
func percentFor(live uint64) int {
	// What a server that does nothing has in use.
	const least = 2 << 20
	return max(usualPercent, int(usualPercent*heapRoom/max(live, least))) //nolint:gosec // at most 800
}

// set changes GOGC, for which the world stops for a moment, where it makes a difference.
func (p *collectionPace) set(percent int) {
	if difference := percent - p.percent; max(difference, -difference)*8 > p.percent {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
}

func (p *collectionPace) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.stopped = true
		p.set(usualPercent)
	}
}

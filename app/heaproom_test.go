package app

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestTheHeapHasRoomHoweverLittleIsInUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		live    uint64
		percent int
	}{
		{0, 800},
		{4 << 20, 400},
		{8 << 20, 200},
		{16 << 20, 100},
		{1 << 30, 100}, // as Go comes: no more than twice what is in use
	} {
		if got := percentFor(c.live); got != c.percent {
			t.Errorf("with %d MiB in use GOGC is %d, want %d", c.live>>20, got, c.percent)
		}
	}
}

func TestGarbageIsCollectedAsUsualBeforeAndAfter(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	current := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC() // what earlier tests had in use is not
	stop := giveHeapRoom()
	defer stop()
	if got := current(); got <= usualPercent {
		t.Errorf("a heap with next to nothing in use is collected at %d %%", got)
	}
	// What is in use grows: after the next collection it has less room for each byte.
	used := make([]byte, 64<<20)
	for i := 0; current() > usualPercent; i++ {
		if i == 1000 {
			t.Fatalf("with 64 MiB in use GOGC is still %d", current())
		}
		runtime.GC()
		<-time.After(time.Millisecond) // cleanups run beside
	}
	runtime.KeepAlive(used)
	stop()
	stop()
	if got := current(); got != usualPercent {
		t.Errorf("afterwards GOGC is %d", got)
	}
}

func TestWhoSetsGOGCHasIt(t *testing.T) {
	t.Setenv("GOGC", "50")
	before := debug.SetGCPercent(50)
	defer debug.SetGCPercent(before)
	defer giveHeapRoom()()
	if got := debug.SetGCPercent(50); got != 50 {
		t.Errorf("GOGC is %d, want 50 as it was set", got)
	}
}

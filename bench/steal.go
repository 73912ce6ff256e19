package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// A theft watches how much processor time the host of a virtual machine gives to others while ours
// would run: figures from a time when that is much say little.
type theft struct {
	since         time.Time
	stolen, total float64 // clock ticks since the machine began
	share         float64 // of the time before since
}

// sameRows is within what time rows are of the same measurement.
const sameRows = time.Second

// take returns what share of the processor time was stolen since the measurement before this one,
// from 0 to 1.
func (t *theft) take() float64 {
	if time.Since(t.since) < sameRows {
		return t.share
	}
	stolen, total := processorTicks()
	if t.share = 0; total > t.total {
		t.share = (stolen - t.stolen) / (total - t.total)
	}
	t.since, t.stolen, t.total = time.Now(), stolen, total
	return t.share
}

// processorTicks returns the processors' time in all and what was stolen of it, as proc_stat(5)
// tells; zeros where nothing does.
func processorTicks() (stolen, total float64) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	const states, steal = 8, 7 // user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user's and nice's
	for i, field := range strings.Fields(line)[1:] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil || i >= states {
			break
		}
		if total += ticks; i == steal {
			stolen = ticks
		}
	}
	return stolen, total
}

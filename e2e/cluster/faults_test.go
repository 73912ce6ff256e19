package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A fault breaks something under load, waits until the shop sells again, and repairs it.
type fault struct {
	name  string
	short bool // also in the short form
	do    func(s *shop) time.Duration
}

// faults are run against each kind of cluster.
var faults = []fault{
	{"writer killed", true, func(s *shop) time.Duration {
		writer := s.nodes.writer()
		s.nodes.kill(writer)
		took := s.load.heals(s.nodes.limits().heal)
		s.nodes.start(writer)
		return took
	}},
}

// runFaults runs each fault on a database of its own.
func runFaults(t *testing.T, n nodes) {
	for i, f := range faults {
		if !f.short && !*soak {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			s := newShop(t, n, fmt.Sprintf("shop_%d", i))
			s.open()
			s.endure(f)
		})
	}
}

// endure lets a fault happen under load and checks the guarantees.
func (s *shop) endure(f fault) {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	watched := s.watch(ctx)
	s.load.start()
	s.load.begins()
	s.load.heals(time.Minute) // it sells
	s.load.begins()
	took := f.do(s)
	wait(ctx, time.Second)
	s.load.stop()
	s.check()
	stop()
	watched()
	s.report(f.name, took)
}

func (s *shop) report(fault string, took time.Duration) {
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	codes := strings.TrimPrefix(fmt.Sprint(s.load.codes), "map")
	result := "none"
	if s.t.Failed() {
		result = "FOUND"
	}
	kind, _, _ := strings.Cut(strings.TrimPrefix(s.t.Name(), "Test"), "_")
	reports.add(kind+": "+fault, took.Round(10*time.Millisecond).String(), s.load.slowest.Round(10*time.Millisecond).String(),
		fmt.Sprint(s.load.requests.Load()), result, codes)
}

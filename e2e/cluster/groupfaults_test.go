package cluster

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

//nolint:paralleltest // it has the machine to itself
func TestGroupReplication_guaranteesHoldBehindRouter(t *testing.T) {
	g := newGroup(t, newRouter)
	runFaults(t, g, g.faults())
}

//nolint:paralleltest // it has the machine to itself
func TestGroupReplication_guaranteesHoldBehindHAProxy(t *testing.T) {
	if !*soak {
		return // the short form tries Router
	}
	g := newGroup(t, newGroupBalancer)
	runFaults(t, g, slices.DeleteFunc(g.faults(), func(f fault) bool { return !f.proxy }))
}

func (f fault) onAllNodes() bool {
	return strings.Contains(f.name, "different nodes") || strings.Contains(f.name, "each node")
}

// groupRounds is the maximum number of rounds of a random fault behind each of the group's proxies.
const groupRounds = 2

// faults are those of one writer, and those that only a group knows. The short form has one fault.
func (g *group) faults() []fault {
	all := slices.DeleteFunc(append(slices.Clone(faults), g.ownFaults()...), func(f fault) bool {
		return f.onAllNodes() || !*soak && f.name != "writer killed"
	})
	for i := range all {
		all[i].repeat = min(all[i].repeat, groupRounds)
	}
	return all
}

func (g *group) ownFaults() []fault {
	return []fault{
		{name: "first start of all instances at once", repeat: 2, open: (*shop).openTogether, do: func(s *shop) time.Duration {
			return s.load.heals(s.healLimit())
		}},
		{name: "the writes move by set_as_primary", repeat: 2, proxy: true, do: func(s *shop) time.Duration {
			g.setPrimary(s.other())
			return s.load.heals(4 * time.Second)
		}},
		{name: "writer isolated, COMMITs lost", repeat: 2, proxy: true, do: func(s *shop) time.Duration {
			writer := s.nodes.writer()
			s.loseCommits()
			s.load.begins()
			s.nodes.isolate(writer)
			wait(context.Background(), time.Second)
			s.commits.Decide(nil)
			took := s.load.heals(s.healLimit() + 2*time.Second)
			s.nodes.rejoin(writer)
			return took
		}},
		{name: "an expelled writer wakes, COMMITs on its successor lost", repeat: 2, proxy: true, do: g.wakeExpelledWriter},
	}
}

// openTogether starts all instances that do not run at once.
func (s *shop) openTogether() {
	s.t.Helper()
	for i := range s.instances {
		if s.instances[i] == nil {
			s.launch(i, s.instanceDSN())
		}
	}
	for _, i := range s.instances {
		i.await()
	}
	s.serve()
}

// wakeExpelledWriter loses COMMITs on the new primary when the old one wakes, which for seconds
// takes itself for the primary: a look for those COMMITs may reach it.
func (g *group) wakeExpelledWriter(s *shop) time.Duration {
	s.t.Helper()
	writer := s.nodes.writer()
	s.nodes.pause(writer)
	s.load.heals(s.healLimit() + 2*time.Second)
	s.loseCommits()
	s.load.begins()
	g.signal(writer, syscall.SIGCONT)
	wait(context.Background(), 300*time.Millisecond)
	s.commits.Decide(nil)
	took := s.load.heals(s.healLimit())
	g.await(writer)
	return took
}

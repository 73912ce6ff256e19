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
	runFaults(t, g, append(withOneWriter(faults), g.faults()...))
}

//nolint:paralleltest // it has the machine to itself
func TestGroupReplication_guaranteesHoldBehindHAProxy(t *testing.T) {
	if !*soak {
		return // the short form tries Router
	}
	g := newGroup(t, newGroupBalancer)
	runFaults(t, g, append(withOneWriter(faults), g.faults()...))
}

// withOneWriter leaves out the faults of nodes that all take writes. The short form has one fault.
func withOneWriter(faults []fault) []fault {
	return slices.DeleteFunc(slices.Clone(faults), func(f fault) bool {
		return f.onAllNodes() || !*soak && f.name != "writer killed"
	})
}

func (f fault) onAllNodes() bool {
	return strings.Contains(f.name, "different nodes") || strings.Contains(f.name, "each node")
}

// faults are those that only a group knows.
func (g *group) faults() []fault {
	return []fault{
		{name: "first start of all instances at once", repeat: 3, open: (*shop).openTogether, do: func(s *shop) time.Duration {
			return s.load.heals(s.healLimit())
		}},
		{name: "the writes move by set_as_primary", repeat: 3, do: func(s *shop) time.Duration {
			g.setPrimary(s.other())
			return s.load.heals(4 * time.Second)
		}},
		{name: "writer isolated, COMMITs lost", repeat: 3, do: func(s *shop) time.Duration {
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
		{name: "an expelled writer wakes, COMMITs on its successor lost", repeat: 5, do: g.wakeExpelledWriter},
	}
}

// openTogether starts all instances at once on an empty database.
func (s *shop) openTogether() {
	s.t.Helper()
	for i := range s.instances {
		s.launch(i, s.instanceDSN())
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

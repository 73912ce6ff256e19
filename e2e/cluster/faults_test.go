package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cartwheel/database/databasetest/proxy"
)

// A fault breaks something under load, waits until the shop sells again, and repairs it.
type fault struct {
	name   string
	short  bool // also in the short form
	repeat int  // how often in the long form, where it is random; 0 is once
	proxy  bool // what the database's proxy does decides how it ends
	smooth bool // no request fails
	open   func(s *shop)
	do     func(s *shop) time.Duration // returns the time to heal
}

// faults are run against each kind of cluster.
var faults = []fault{
	{name: "first start through different nodes", short: true, repeat: 3, open: (*shop).openOnNodes, do: nothing},
	{name: "writer killed", short: true, do: (*shop).killWriter},
	{name: "writer killed, COMMITs lost", short: true, repeat: 3, proxy: true, do: (*shop).killWriterWithLostCommits},
	{name: "writer paused for longer than the suspect timeout", short: true, proxy: true, do: func(s *shop) time.Duration {
		return s.pauseWriter(3*s.nodes.limits().suspect, 0)
	}},
	{name: "writer paused for less than the suspect timeout", do: func(s *shop) time.Duration {
		return s.pauseWriter(s.nodes.limits().suspect-300*time.Millisecond, 0)
	}},
	// A writer that wakes while the others agree on a group without it makes them begin again.
	{name: "writer paused for about the suspect timeout", repeat: 3, proxy: true, do: func(s *shop) time.Duration {
		suspect := s.nodes.limits().suspect
		return s.pauseWriter(suspect+time.Duration(rand.Int64N(int64(suspect))), 2*suspect)
	}},
	{name: "writer killed, the next one lags", repeat: 2, open: (*shop).openBesideBulk, do: (*shop).killWriterBeforeLaggingNode},
	{name: "writer isolated", do: (*shop).isolateWriter},
	{name: "writer stopped as planned", proxy: true, do: (*shop).stopWriter},
	{name: "another node killed, and back with what it missed", do: func(s *shop) time.Duration { return s.killOther(false) }},
	{name: "another node killed, and back with a full copy", do: func(s *shop) time.Duration { return s.killOther(true) }},
	{name: "another node paused", do: (*shop).pauseOther},
	{name: "another node isolated", do: (*shop).isolateOther},
	{name: "instance killed", do: (*shop).killInstance},
	{name: "instances restarted in turn", smooth: true, do: (*shop).restartInstances},
	{name: "an instance for each node, all write", repeat: 2, open: (*shop).openOnNodes, do: (*shop).sellOut},
	{name: "an instance for each node, one node killed", repeat: 2, open: (*shop).openOnNodes, do: (*shop).killWriter},
}

// runFaults runs each fault on a database of its own.
func runFaults(t *testing.T, n nodes, faults []fault) {
	for i, f := range faults {
		if !f.short && !*soak {
			continue
		}
		for round := range max(1, f.repeat) {
			if round > 0 && !*soak {
				break
			}
			t.Run(f.name, func(t *testing.T) { newShop(t, n, fmt.Sprintf("shop_%d_%d", i, round)).endure(f) })
		}
	}
}

// endure lets a fault happen under load and checks the guarantees.
func (s *shop) endure(f fault) {
	s.t.Helper()
	if f.open == nil {
		f.open = (*shop).open
	}
	f.open(s)
	ctx, stop := context.WithCancel(context.Background())
	watched := s.watch(ctx)
	s.load.start()
	s.load.heals(time.Minute) // it sells
	s.load.begins()
	took := f.do(s)
	wait(ctx, time.Second)
	s.load.stop()
	s.check()
	stop()
	watched()
	s.report(f, took)
}

// other is the index of a node that is not the writer.
func (s *shop) other() int { return (s.nodes.writer() + 1) % size }

func (s *shop) healLimit() time.Duration { return s.nodes.limits().heal }

func nothing(s *shop) time.Duration { return s.load.heals(time.Second) }

func (s *shop) killWriter() time.Duration {
	writer := s.nodes.writer()
	s.nodes.kill(writer)
	took := s.load.heals(s.healLimit())
	s.nodes.start(writer)
	return took
}

// killWriterWithLostCommits loses the answers of the last COMMITs.
func (s *shop) killWriterWithLostCommits() time.Duration {
	writer := s.nodes.writer()
	s.loseCommits()
	s.load.begins()
	s.nodes.kill(writer)
	s.commits.Decide(nil)
	took := s.load.heals(s.healLimit())
	s.nodes.start(writer)
	return took
}

// loseCommits loses the answer of each COMMIT from now on, and returns when one was lost.
func (s *shop) loseCommits() {
	s.t.Helper()
	before := s.commits.Counts().CutAfter
	s.commits.Decide(func(int) proxy.Fate { return proxy.CutAfter() })
	eventually(s.t, 20*time.Second, "a COMMIT's answer is lost", func() bool { return s.commits.Counts().CutAfter > before })
}

// openBesideBulk is open with a table that no instance knows.
func (s *shop) openBesideBulk() {
	s.t.Helper()
	const doublings = 19 // 524,288 rows
	statements := []string{"USE " + s.database, "CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, filler CHAR(40)) CHARACTER SET ascii",
		"INSERT INTO bulk (filler) VALUES ('')"}
	for range doublings {
		statements = append(statements, "INSERT INTO bulk (filler) SELECT filler FROM bulk")
	}
	if err := execute(s.nodes.nodeDSN(s.nodes.writer()), statements...); err != nil {
		s.t.Fatal(err)
	}
	s.open()
}

// killWriterBeforeLaggingNode kills the writer, with COMMITs lost, while the others apply one large
// UPDATE, behind which all later transactions wait.
func (s *shop) killWriterBeforeLaggingNode() time.Duration {
	writer := s.nodes.writer()
	s.exec(writer, "UPDATE "+s.database+".bulk SET filler = 'changed'")
	s.loseCommits()
	s.load.begins()
	s.nodes.kill(writer)
	s.commits.Decide(nil)
	took := s.load.heals(time.Minute)
	s.nodes.start(writer)
	return took
}

// pauseWriter pauses the writer for d. Healing may take longer than after a kill by more.
func (s *shop) pauseWriter(d, more time.Duration) time.Duration {
	writer := s.nodes.writer()
	s.nodes.pause(writer)
	wait(context.Background(), d)
	s.nodes.resume(writer)
	return s.load.heals(d + s.healLimit() + more)
}

func (s *shop) isolateWriter() time.Duration {
	writer := s.nodes.writer()
	s.nodes.isolate(writer)
	took := s.load.heals(s.healLimit() + 2*time.Second)
	s.nodes.rejoin(writer)
	return took
}

func (s *shop) stopWriter() time.Duration {
	writer := s.nodes.writer()
	s.nodes.stop(writer)
	took := s.load.heals(s.healLimit())
	s.nodes.start(writer)
	return took
}

func (s *shop) killOther(wiped bool) time.Duration {
	other := s.other()
	s.nodes.kill(other)
	took := s.load.heals(s.healLimit())
	wait(context.Background(), 2*time.Second)
	if wiped {
		s.nodes.wipe(other)
	}
	s.nodes.start(other)
	return took
}

func (s *shop) pauseOther() time.Duration {
	other := s.other()
	s.nodes.pause(other)
	took := s.load.heals(s.healLimit())
	wait(context.Background(), s.nodes.limits().suspect)
	s.nodes.resume(other)
	return took
}

func (s *shop) isolateOther() time.Duration {
	other := s.other()
	s.nodes.isolate(other)
	took := s.load.heals(s.healLimit())
	s.nodes.rejoin(other)
	return took
}

func (s *shop) killInstance() time.Duration {
	s.instances[0].kill()
	took := s.load.heals(time.Second)
	wait(context.Background(), 5*time.Second) // its leases expire, and others claim its checkouts
	s.instances[0].start()
	s.instances[0].await()
	return took
}

func (s *shop) restartInstances() time.Duration {
	for _, i := range s.instances {
		if status := i.stop(); status != 0 {
			s.t.Errorf("%s ended with status %d", i.name, status)
		}
		i.start()
		i.await()
		wait(context.Background(), 2*time.Second) // the load balancer finds it ready
	}
	return s.load.heals(time.Second)
}

// openOnNodes starts all instances at once on an empty database, each on a node of its own, and so
// with several writers.
func (s *shop) openOnNodes() {
	s.t.Helper()
	s.severalWriters = true
	for i := range s.instances {
		s.launch(i, s.nodes.nodeDSN(i)+s.database)
	}
	for _, i := range s.instances {
		i.await()
	}
	s.serve()
}

// sellOut goes on until products with few units have been sold out for a while.
func (s *shop) sellOut() time.Duration {
	wait(context.Background(), 15*time.Second)
	return s.load.heals(time.Second)
}

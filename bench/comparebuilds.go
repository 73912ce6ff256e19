package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A build is one of the two that are compared.
type build struct {
	name, binary string
	shops        map[string]*shop // by engine
}

// compareBuilds measures the wanted capacity rows of a base revision and of this source, run by run
// in turns, so that a machine that is slow for a while is slow for both. It prints medians, spreads
// and processor time.
func (b *bench) compareBuilds(ctx context.Context) error {
	base, err := b.buildBase(ctx)
	if err != nil {
		return err
	}
	builds := []*build{
		{name: "base", binary: base, shops: map[string]*shop{}},
		{name: "head", binary: b.cartwheel, shops: map[string]*shop{}},
	}
	out := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "row\tbase\thead\thead/base\tbase CPU µs\thead CPU µs\t")
	for _, l := range loads {
		if !b.settings.wants(l.key) {
			continue
		}
		rates, cpu := map[string][]float64{}, map[string][]float64{}
		for round := range b.settings.rounds {
			order := builds
			if round%2 == 1 {
				order = []*build{builds[1], builds[0]}
			}
			for _, build := range order {
				rate, micros, err := b.measureBuild(ctx, build, l)
				if err != nil {
					return fmt.Errorf("%s of %s: %w", l.key, build.name, err)
				}
				rates[build.name], cpu[build.name] = append(rates[build.name], rate), append(cpu[build.name], micros)
				b.progressf("%s: %s %.0f/s, %.0f µs of server and database a request", l.key, build.name, rate, micros)
			}
		}
		old, now := summarize(rates["base"], "/s"), summarize(rates["head"], "/s")
		fmt.Fprintf(out, "%s\t%s\t%s\t%.2f\t%.0f\t%.0f\t\n", l.key, old, now, now.Value/old.Value,
			summarize(cpu["base"], "").Value, summarize(cpu["head"], "").Value)
	}
	return out.Flush()
}

// measureBuild makes one run. It returns requests a second and microseconds of processor time a
// request, of the server and of its database.
func (b *bench) measureBuild(ctx context.Context, build *build, l load) (rate, micros float64, err error) {
	s := build.shops[l.engine]
	if s == nil {
		current := b.cartwheel
		b.cartwheel = build.binary
		s, err = b.openShop(ctx, l.engine)
		b.cartwheel = current
		if err != nil {
			return 0, 0, err
		}
		build.shops[l.engine] = s
	}
	const most = 25_000 // checkouts a second for which carts are filled
	pids := []int{s.command.Process.Pid}
	if server := b.servers[l.engine]; server != nil {
		pids = append(pids, server.PID())
	}
	before, requests := processorTime(pids), b.requests
	o, err := b.measure(ctx, s, l.what, l.connections, l.hot, most)
	if err != nil {
		return 0, 0, err
	}
	return o.rate(), (processorTime(pids) - before) / float64(max(1, b.requests-requests)), nil
}

// processorTime is the processes' user and system time so far, in microseconds. 0 where it cannot
// be read.
func processorTime(pids []int) (micros float64) {
	const tick = 10_000 // Linux counts hundredths of a second
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			return 0
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, at := range []int{11, 12} { // utime, stime
			ticks, _ := strconv.ParseFloat(fields[at], 64)
			micros += ticks * tick
		}
	}
	return micros
}

// buildBase builds the base revision's binary from a worktree of its own, which it removes.
func (b *bench) buildBase(ctx context.Context) (binary string, err error) {
	b.progressf("building %s", b.settings.base)
	tree := filepath.Join(b.dir, "base-source")
	git := func(args ...string) error {
		if output, err := exec.CommandContext(ctx, "git", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, output)
		}
		return nil
	}
	if err := git("worktree", "add", "--detach", tree, b.settings.base); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, git("worktree", "remove", "--force", tree)) }()
	binary = filepath.Join(b.dir, "cartwheel-base")
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	command.Dir, command.Env = tree, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", b.settings.base, err, output)
	}
	return binary, nil
}

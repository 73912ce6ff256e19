package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"
)

// A build is one of the two that are compared.
type build struct {
	name, binary string
	shops        map[string]*shop // by load.shop
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
		runs, err := b.compareRow(ctx, builds, l)
		if err != nil {
			// The base may lack the route.
			if err := b.missed(ctx, l.key, err); err != nil {
				return err
			}
			continue
		}
		old, now := rates(runs["base"]), rates(runs["head"])
		fmt.Fprintf(out, "%s\t%s\t%s\t%.2f\t%.0f\t%.0f\t\n", l.key, old, now, now.Value/old.Value,
			costOf(runs["base"]).CPU, costOf(runs["head"]).CPU)
	}
	b.progressf("")
	return out.Flush()
}

// compareRow returns a row's runs by the build's name.
func (b *bench) compareRow(ctx context.Context, builds []*build, l load) (map[string][]outcome, error) {
	runs := map[string][]outcome{}
	for round := range b.settings.rounds {
		order := builds
		if round%2 == 1 {
			order = []*build{builds[1], builds[0]}
		}
		for _, build := range order {
			o, err := b.measureBuild(ctx, build, l)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", build.name, err)
			}
			runs[build.name] = append(runs[build.name], o)
			b.progressf("%s: %s %.0f/s, %.0f µs of server and database a request", l.key, build.name, o.rate(), o.CPU)
		}
	}
	return runs, nil
}

// measureBuild makes one run.
func (b *bench) measureBuild(ctx context.Context, build *build, l load) (outcome, error) {
	s := build.shops[l.shop()]
	if s == nil {
		var err error
		current := b.cartwheel
		b.cartwheel = build.binary
		s, err = b.openFor(ctx, l)
		b.cartwheel = current
		if err != nil {
			return outcome{}, err
		}
		build.shops[l.shop()] = s
	}
	const most = 25_000 // checkouts a second for which carts are filled
	return b.measure(ctx, s, l.what, l.connections, l.hot, most)
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

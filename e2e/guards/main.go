// Command guards checks the checks. In a temporary copy of the source it takes the product's guards away, one at a time, and runs
// the tests that should notice. It prints which test caught which, and exits with status 1 when one was not caught, or when
// the text that it has to replace is no longer there.
//
//	go run ./guards [-run REGEXP] [-from DIR]
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// perTest bounds one run of a guard's tests.
const perTest = 2 * time.Minute

func main() { os.Exit(status()) }

// status is the exit status.
func status() int {
	pick := flag.String("run", "", "take away only the guards whose names match this `regexp`")
	from := flag.String("from", "..", "the product's `directory`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	caught, err := check(ctx, *from, *pick)
	if err != nil {
		fmt.Fprintln(os.Stderr, "guards:", err)
	}
	if err != nil || !caught {
		return 1
	}
	return 0
}

// check takes the picked guards away in turn, and reports whether each was caught.
func check(ctx context.Context, from, pick string) (allCaught bool, err error) {
	picked, err := regexp.Compile(pick)
	if err != nil {
		return false, err
	}
	guards := slices.DeleteFunc(guards(), func(g guard) bool { return !picked.MatchString(g.name) })
	if len(guards) == 0 {
		return false, errors.New("no guard has such a name")
	}
	dir, err := os.MkdirTemp("", "cartwheel-guards-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := copySource(dir, from); err != nil {
		return false, err
	}
	if err := anchored(dir, guards); err != nil {
		return false, err
	}
	if err := passWhole(ctx, dir, guards); err != nil {
		return false, err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "guard taken away\tcaught by\ttook")
	allCaught = true
	for _, g := range guards {
		began := time.Now()
		by, err := g.takeAway(ctx, dir)
		if err != nil {
			return false, fmt.Errorf("%s: %w", g.name, err)
		}
		if len(by) == 0 {
			allCaught = false
			by = []string{"NOBODY"}
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", g.name, strings.Join(by, ", "))
		_, _ = fmt.Fprintf(out, "%s\t%s\t%v\n", g.name, strings.Join(by, ", "), time.Since(began).Round(100*time.Millisecond))
	}
	return allCaught, out.Flush()
}

// copySource copies what the product is built from.
func copySource(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || name == "data"):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(target, 0o750)
		case !entry.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path) //nolint:gosec // the source that we were pointed at
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o600)
	})
}

// anchored checks that every text which is to be replaced is there, once.
func anchored(dir string, guards []guard) error {
	var all []error
	for _, g := range guards {
		for _, e := range g.edits {
			content, err := os.ReadFile(filepath.Join(dir, e.file)) //nolint:gosec // a name from our table
			if err != nil {
				all = append(all, fmt.Errorf("%s: %w", g.name, err))
				continue
			}
			if n := strings.Count(string(content), e.from); n != 1 {
				all = append(all, fmt.Errorf("%s: in %s this is there %d times instead of once: %s", g.name, e.file, n, e.from))
			}
		}
	}
	return errors.Join(all...)
}

// passWhole runs the tests with all guards in place: one that fails anyway would catch nothing.
func passWhole(ctx context.Context, dir string, guards []guard) error {
	names := map[string][]string{}
	for _, g := range guards {
		names[g.in] = append(names[g.in], g.tests...)
	}
	for _, in := range slices.Sorted(maps.Keys(names)) {
		slices.Sort(names[in])
		tests := slices.Compact(names[in])
		ran, output, err := run(ctx, dir, in, tests)
		if err != nil {
			return fmt.Errorf("with all guards in place the tests in %s fail: %w\n%s", in, err, output)
		}
		for _, test := range tests {
			if ran[test] != "PASS" {
				return fmt.Errorf("with all guards in place %s in %s does not pass, but: %s", test, in, cmp.Or(ran[test], "is not there"))
			}
		}
		fmt.Fprintf(os.Stderr, "with all guards in place %d tests in %s pass\n", len(tests), in)
	}
	return nil
}

// takeAway edits the copy, runs the tests, and puts the copy back as it was. It returns the tests that failed.
func (g guard) takeAway(ctx context.Context, dir string) (by []string, err error) {
	for _, e := range g.edits {
		path := filepath.Join(dir, e.file)
		content, err := os.ReadFile(path) //nolint:gosec // a name from our table
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.WriteFile(path, content, 0o600)) }()
		if err := os.WriteFile(path, []byte(strings.Replace(string(content), e.from, e.to, 1)), 0o600); err != nil {
			return nil, err
		}
	}
	build := exec.CommandContext(ctx, "go", "build", "./...")
	build.Dir = dir
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("without the guard it does not build: %w\n%s", err, output)
	}
	ran, output, err := run(ctx, dir, g.in, g.tests)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, test := range g.tests {
		if ran[test] == "FAIL" {
			by = append(by, test)
		}
	}
	if err != nil && len(by) == 0 {
		return nil, fmt.Errorf("the tests did not run to their end: %w\n%s", err, output)
	}
	return by, nil
}

var verdicts = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`)

// run runs tests and returns what became of each: PASS, FAIL or SKIP. A panic is a failure of the test that it ended.
func run(ctx context.Context, dir, in string, tests []string) (ran map[string]string, output string, err error) {
	command := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-timeout", perTest.String(),
		"-run", "^("+strings.Join(tests, "|")+")$", "./"+in)
	command.Dir = dir
	if in == "e2e" {
		command.Dir = filepath.Join(dir, in)
		command.Args[len(command.Args)-1] = "."
	}
	text, err := command.CombinedOutput()
	ran = map[string]string{}
	for _, verdict := range verdicts.FindAllStringSubmatch(string(text), -1) {
		ran[verdict[2]] = verdict[1]
	}
	return ran, string(text), err
}

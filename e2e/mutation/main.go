// Command mutation runs the mutation tests. In a temporary copy of the source it applies one
// mutation at a time and runs the tests that must fail. It prints which test caught which mutation.
// Its exit status is 1 when a named test passed, or when the text that it replaces is not in the
// source.
//
//	go run ./mutation [-run REGEXP] [-from DIR]
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

// perTest is the maximum time of one run of a mutation's tests.
const perTest = 5 * time.Minute

func main() { os.Exit(status()) }

// status is the exit status.
func status() int {
	pick := flag.String("run", "", "apply only the mutations whose names match this `regexp`")
	from := flag.String("from", "..", "the product's `directory`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	caught, err := check(ctx, *from, *pick)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
	}
	if err != nil || !caught {
		return 1
	}
	return 0
}

// check applies the picked mutations in turn, and reports whether each was caught by all its tests.
func check(ctx context.Context, from, pick string) (allCaught bool, err error) {
	picked, err := regexp.Compile(pick)
	if err != nil {
		return false, err
	}
	all := slices.DeleteFunc(mutations(), func(m mutation) bool { return !picked.MatchString(m.name) })
	if len(all) == 0 {
		return false, errors.New("no mutation has such a name")
	}
	dir, err := os.MkdirTemp("", "cartwheel-mutation-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := copySource(dir, from); err != nil {
		return false, err
	}
	if err := anchored(dir, all); err != nil {
		return false, err
	}
	if err := passUnchanged(ctx, dir, all); err != nil {
		return false, err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "mutation\tcaught by\tduration")
	allCaught = true
	var broken []error // mutations that say nothing
	for _, m := range all {
		began := time.Now()
		by, err := m.apply(ctx, dir)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			broken = append(broken, fmt.Errorf("%s: %w", m.name, err))
			continue
		}
		if missed := m.passed(by); len(missed) > 0 {
			allCaught = false
			by = append(by, "NOT "+strings.Join(missed, ", NOT "))
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", m.name, strings.Join(by, ", "))
		_, _ = fmt.Fprintf(out, "%s\t%s\t%v\n", m.name, strings.Join(by, ", "), time.Since(began).Round(100*time.Millisecond))
	}
	return allCaught, errors.Join(append(broken, out.Flush())...)
}

// passed returns the tests of the mutation that did not fail.
func (m mutation) passed(failed []string) []string {
	return slices.DeleteFunc(slices.Clone(m.tests), func(test string) bool { return slices.Contains(failed, test) })
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
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o600)
	})
}

// anchored checks that every text to replace is there, once.
func anchored(dir string, mutations []mutation) error {
	var missing []error
	for _, m := range mutations {
		for _, e := range m.edits {
			content, err := os.ReadFile(filepath.Join(dir, e.file))
			if err != nil {
				missing = append(missing, fmt.Errorf("%s: %w", m.name, err))
				continue
			}
			if n := strings.Count(string(content), e.from); n != 1 {
				missing = append(missing, fmt.Errorf("%s: %s has this text %d times, want once: %s", m.name, e.file, n, e.from))
			}
		}
	}
	return errors.Join(missing...)
}

// passUnchanged runs the tests without a mutation: one that fails anyway would catch nothing.
func passUnchanged(ctx context.Context, dir string, mutations []mutation) error {
	names := map[string][]string{}
	for _, m := range mutations {
		names[m.in] = append(names[m.in], m.tests...)
	}
	for _, in := range slices.Sorted(maps.Keys(names)) {
		slices.Sort(names[in])
		tests := slices.Compact(names[in])
		ran, output, err := run(ctx, dir, in, tests)
		if err != nil {
			return fmt.Errorf("without a mutation the tests in %s fail: %w\n%s", in, err, output)
		}
		for _, test := range tests {
			if ran[test] != "PASS" {
				return fmt.Errorf("without a mutation %s in %s does not pass, but: %s", test, in, cmp.Or(ran[test], "is not there"))
			}
		}
		fmt.Fprintf(os.Stderr, "without a mutation %d tests in %s pass\n", len(tests), in)
	}
	return nil
}

// apply edits the copy, runs the tests, and puts the copy back as it was. It returns the tests that
// failed.
func (m mutation) apply(ctx context.Context, dir string) (by []string, err error) {
	for _, e := range m.edits {
		path := filepath.Join(dir, e.file)
		content, err := os.ReadFile(path)
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
		return nil, fmt.Errorf("the mutation does not build: %w\n%s", err, output)
	}
	ran, output, err := run(ctx, dir, m.in, m.tests)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, test := range m.tests {
		if ran[test] == "FAIL" {
			by = append(by, test)
		}
	}
	if err != nil && len(by) == 0 {
		return nil, fmt.Errorf("the tests did not run to their end: %w\n%s", err, output)
	}
	return by, nil
}

var results = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`)

// run runs tests and returns what became of each: PASS, FAIL or SKIP. A panic is a failure of the
// test that it ended.
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
	for _, result := range results.FindAllStringSubmatch(string(text), -1) {
		ran[result[2]] = result[1]
	}
	return ran, string(text), err
}

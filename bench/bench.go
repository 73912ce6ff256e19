package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cartwheel/database/databasetest/dbserver"
)

// A bench is one run: what it started, and what it found.
type bench struct {
	settings  settings
	out, errs io.Writer
	pid       int
	dir       string     // all that it writes
	cartwheel string     // the binary
	nullshop  string     // the binary
	script    string     // wrk's
	mu        sync.Mutex // in attack, which several goroutines may call
	seed      int        // under mu; of wrk's random numbers

	countStatuses bool // wrk counts answers by status: slower

	servers   map[string]*dbserver.Server // by engine
	stores    int
	requests  int // under mu; of all runs
	started   int
	instances []*instance
	closers   []func() error
	null      *instance
	nullWarm  bool
	report    report
}

// parts are the groups of rows, in the order in which they run.
func (b *bench) parts() []func(context.Context) error {
	return []func(context.Context) error{
		b.capacity,
		b.severalInstances,
		b.oneByOne,
		b.latency,
		b.imports,
		b.growth,
		b.overload,
		b.soldOut,
		b.hostile,
		b.footprint,
	}
}

// keys are all rows' names for -only.
func keys() []string {
	var all []string
	for _, l := range loads {
		all = append(all, l.key)
	}
	for _, s := range singles {
		all = append(all, s.key)
	}
	for _, count := range instanceCounts {
		all = append(all, instancesKey(count))
	}
	for _, engine := range engines {
		all = append(all, "one/"+engine)
	}
	for _, engine := range engines {
		all = append(all, "latency/half/"+engine, "latency/payment/"+engine)
	}
	for _, engine := range engines {
		all = append(all, "import/"+engine, "import-idle/"+engine)
	}
	for _, engine := range engines {
		all = append(all, "growth/add/"+engine, "growth/checkout/"+engine)
	}
	for _, engine := range engines {
		all = append(all, "overload/add/"+engine, "overload/checkout/"+engine)
	}
	for _, engine := range engines {
		all = append(all, "soldout/"+engine)
	}
	for _, engine := range engines {
		for _, attack := range attacks {
			all = append(all, "hostile/"+attack.name+"/"+engine)
		}
	}
	for _, engine := range engines {
		all = append(all, "memory/"+engine, "idle/"+engine)
	}
	return append(all, floodKey, "start", "binary")
}

// wantsAny reports whether one of the rows was asked for.
func (b *bench) wantsAny(keys ...string) bool { return slices.ContainsFunc(keys, b.settings.wants) }

func (b *bench) run(ctx context.Context) error {
	if !slices.ContainsFunc(keys(), b.settings.wants) {
		return fmt.Errorf("-only %v selects no row: see -list", b.settings.only)
	}
	began := time.Now()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if err := b.report.machine(ctx, b); err != nil {
		return err
	}
	if b.settings.base != "" {
		return b.compareBuilds(ctx)
	}
	b.report.theft.take()
	for n, part := range b.parts() {
		if err := part(ctx); err != nil {
			if err := b.missed(ctx, fmt.Sprintf("part %d", n+1), err); err != nil {
				return err
			}
		}
	}
	b.progressf("")
	b.report.print(b.out)
	fmt.Fprintf(b.out, "The run took %v.\n", time.Since(began).Round(time.Second))
	if b.settings.json != "" {
		if err := b.report.write(b.settings.json); err != nil {
			return err
		}
	}
	return nil
}

// missed notes that a row could not be measured, and why. It returns an error only where the whole
// run is to end.
func (b *bench) missed(ctx context.Context, key string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fmt.Fprintf(b.errs, "%s was not measured: %v\n", key, err)
	b.report.Rows = append(b.report.Rows, row{Key: key, Name: key + " was not measured", Note: err.Error()})
	return nil
}

// prepare builds what is measured.
func (b *bench) prepare(ctx context.Context) (err error) {
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("%w (Debian: apt-get install wrk)", err)
	}
	parent, err := b.diskFolder()
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(parent, "cartwheel-bench-"); err != nil {
		return err
	}
	b.script = filepath.Join(b.dir, "wrk.lua")
	if err := os.WriteFile(b.script, wrkScript, 0o600); err != nil {
		return err
	}
	b.cartwheel, b.nullshop = filepath.Join(b.dir, "cartwheel"), filepath.Join(b.dir, "nullshop")
	for binary, source := range map[string]string{b.cartwheel: ".", b.nullshop: "./nullshop"} {
		b.progressf("building %s", filepath.Base(binary))
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if binary == b.cartwheel {
			build.Dir = ".." // a module of its own
		}
		if output, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", source, err, output)
		}
	}
	return nil
}

// startServer starts a private server, as durable as one out of the box and with more memory.
func (b *bench) startServer(engine string) error {
	b.progressf("starting %s", engineName(engine))
	config := dbserver.Config{Flavour: dbserver.MariaDB, Parent: b.dir, TCP: true, Options: []string{"--innodb-buffer-pool-size=1G"}}
	if engine == mysql97 {
		config.Flavour = dbserver.MySQL
		config.Options = append(config.Options, "--innodb-redo-log-capacity=512M")
	} else {
		config.Options = append(config.Options, "--innodb-log-file-size=512M")
	}
	if engine == newMariaDB {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		config.Binary = filepath.Join(cache, "cartwheel", "mariadb-11.8", "mariadbd")
	}
	server, err := dbserver.New(config)
	if err != nil {
		return err
	}
	if b.servers == nil {
		b.servers = map[string]*dbserver.Server{}
	}
	b.servers[engine] = server
	return server.Start()
}

// nullBase returns the URL of the no-op baseline, and starts it first.
func (b *bench) nullBase(ctx context.Context) (string, error) {
	if b.null == nil {
		var err error
		if b.null, err = b.start(ctx, "nullshop", b.nullshop); err != nil {
			return "", err
		}
	}
	return b.null.base, nil
}

// serve starts cartwheel on a store.
func (b *bench) serve(ctx context.Context, s *store, flags ...string) (*instance, error) {
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--log-format", "json"}, s.flags...)
	return b.start(ctx, "cartwheel-"+s.engine, b.cartwheel, append(args, flags...)...)
}

// close stops and removes everything that was started, in reverse.
func (b *bench) close() error {
	var errs []error
	for _, i := range slices.Backward(b.instances) {
		select {
		case <-i.ended: // stopped, and looked at, by who started it
		default:
			errs = append(errs, i.stop())
		}
	}
	for _, one := range slices.Backward(b.closers) {
		errs = append(errs, one())
	}
	for _, server := range b.servers {
		server.Remove()
	}
	if b.dir != "" {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}

// progressf reports what is under way: with -v as lines, else on a terminal as one that changes.
func (b *bench) progressf(format string, args ...any) {
	if !b.settings.verbose {
		if file, ok := b.errs.(*os.File); ok && isTerminal(file) {
			fmt.Fprintf(file, "\r\x1b[K%.78s", fmt.Sprintf(format, args...))
		}
		return
	}
	fmt.Fprintf(b.errs, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

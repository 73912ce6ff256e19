// Command bench proves the numbers that Cartwheel is to reach, all in one run on one machine, and
// prints what it measured, what that is compared to, and the targets. It ends with status 1 when a
// target is missed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

func main() {
	runtime.LockOSThread()   // see separate
	debug.SetGCPercent(1000) // our own garbage must not stand in the way of requests that are due
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, errs io.Writer) (status int) {
	s, err := parseSettings(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return 2
	}
	if s.list {
		for _, key := range keys() {
			if strings.HasPrefix(key, "import") {
				key += " (only with -only)"
			}
			fmt.Fprintln(out, key)
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{settings: s, out: out, errs: errs, pid: os.Getpid()}
	err = b.run(ctx)
	if err := errors.Join(err, b.close()); err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return 1
	}
	if !b.report.reached() {
		return 1
	}
	return 0
}

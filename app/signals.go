package app

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// repeatedSignalGrace is how long signals after the first are ignored: supervisors and terminals
// often send two.
const repeatedSignalGrace = time.Second

// untilSignal returns a context that ends with SIGINT, SIGTERM or SIGHUP. A signal that comes more
// than repeatedSignalGrace later ends the process at once. Writing to a closed pipe ends nothing.
// The caller calls stop at the end.
func untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	signal.Ignore(syscall.SIGPIPE)
	wanted := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		wanted = append(wanted, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, wanted...)
	ctx, cancel := context.WithCancel(ctx)
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer signal.Stop(signals)
		select {
		case <-signals:
		case <-stopped:
			return
		}
		cancel()
		select {
		case <-time.After(repeatedSignalGrace):
		case <-stopped:
		}
	}()
	return ctx, func() {
		cancel()
		close(stopped)
		<-ended
	}
}

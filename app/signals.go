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
// than repeatedSignalGrace later ends the process at once. The caller calls stop at the end.
func untilSignal(ctx context.Context) (_ context.Context, stop context.CancelFunc) {
	wanted := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		wanted = append(wanted, syscall.SIGHUP)
	}
	ctx, stop = signal.NotifyContext(ctx, wanted...)
	context.AfterFunc(ctx, func() { time.AfterFunc(repeatedSignalGrace, stop) })
	return ctx, stop
}

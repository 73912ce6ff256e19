package app

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// warnInterval is the minimum time between two warnings with the same message. An outage
	// affects thousands of requests and checkouts at once.
	warnInterval = time.Second
	// maxWarnings is the maximum number of messages that are remembered. Those of net/http differ
	// by their addresses.
	maxWarnings = 1000
)

// A warnLimiter is a handler that passes each warning on at most once per warnInterval, with the
// number of suppressed ones. Records of other levels all pass.
type warnLimiter struct {
	slog.Handler

	mu       sync.Mutex
	messages map[string]suppressed // guarded by mu
}

// suppressed are the warnings with one message that were not passed on.
type suppressed struct {
	since time.Time // when the last one was passed on
	count int
}

// Handle implements slog.Handler.
func (l *warnLimiter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level != slog.LevelWarn {
		return l.Handler.Handle(ctx, r)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.messages[r.Message]
	if r.Time.Sub(s.since) < warnInterval {
		l.messages[r.Message] = suppressed{s.since, s.count + 1}
		return nil
	}
	if s.count > 0 {
		r.AddAttrs(slog.Int("suppressed", s.count))
	}
	if len(l.messages) >= maxWarnings {
		clear(l.messages)
	}
	l.messages[r.Message] = suppressed{since: r.Time}
	return l.Handler.Handle(ctx, r)
}

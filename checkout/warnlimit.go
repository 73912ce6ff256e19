package checkout

import (
	"log/slog"
	"sync"
	"time"
)

// warnInterval is the minimum time between two log records with the same message. An outage affects
// thousands of checkouts at once.
const warnInterval = time.Second

// A warnLimiter logs each message at most once per warnInterval, with the number of suppressed
// records. The zero value is ready to use.
type warnLimiter struct {
	mu       sync.Mutex
	messages map[string]suppressed // under mu; the messages are few and constant
}

// suppressed are the records of one message that were not logged.
type suppressed struct {
	since time.Time // when the last one was logged
	count int
}

func (l *warnLimiter) warn(log *slog.Logger, message string, attributes ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.messages == nil {
		l.messages = map[string]suppressed{}
	}
	s := l.messages[message]
	if time.Since(s.since) < warnInterval {
		s.count++
		l.messages[message] = s
		return
	}
	if s.count > 0 {
		attributes = append(attributes, "suppressed", s.count)
	}
	l.messages[message] = suppressed{since: time.Now()}
	log.Warn(message, attributes...)
}

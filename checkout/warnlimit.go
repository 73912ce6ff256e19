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
// records.
type warnLimiter struct {
	mu       sync.Mutex
	messages map[string]*suppressed // under mu; the messages are few and constant
}

type suppressed struct {
	last  time.Time
	count int
}

func (l *warnLimiter) warn(log *slog.Logger, message string, attributes ...any) {
	count, ok := l.acquire(message)
	if !ok {
		return
	}
	if count > 0 {
		attributes = append(attributes, "suppressed", count)
	}
	log.Warn(message, attributes...)
}

// acquire reports whether the message may be logged now, and how many records were suppressed
// before.
func (l *warnLimiter) acquire(message string) (count int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.messages == nil {
		l.messages = map[string]*suppressed{}
	}
	s := l.messages[message]
	if s == nil {
		s = &suppressed{}
		l.messages[message] = s
	}
	if time.Since(s.last) < warnInterval {
		s.count++
		return 0, false
	}
	count = s.count
	*s = suppressed{last: time.Now()}
	return count, true
}

package checkout

import (
	"log/slog"
	"sync"
	"time"
)

// logEvery is how often the same trouble is logged: an outage meets thousands of checkouts at once.
const logEvery = time.Second

// A throttle logs a message at most once in logEvery, with how often it was left out before.
type throttle struct {
	mu   sync.Mutex
	said map[string]*repeated // under mu; the messages are few and constant
}

type repeated struct {
	last time.Time
	more int
}

func (t *throttle) warn(log *slog.Logger, message string, attributes ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said == nil {
		t.said = map[string]*repeated{}
	}
	r := t.said[message]
	if r == nil {
		r = &repeated{}
		t.said[message] = r
	}
	if time.Since(r.last) < logEvery {
		r.more++
		return
	}
	if r.more > 0 {
		attributes = append(attributes, "and_as_often_before", r.more)
	}
	r.last, r.more = time.Now(), 0
	log.Warn(message, attributes...)
}

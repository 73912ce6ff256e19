package mysql

import (
	"testing"
	"time"
)

// Without look-ups the lag is not checked. Of several that then arrive at once, the first checks
// it; the others must not rely on the old check.
func TestReplica_isNotFreshWhenSeenLongAgo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ago  time.Duration
		want bool
	}{{time.Second, true}, {time.Minute, false}} {
		r := &Replica{}
		r.state.Store(fresh)
		r.seen.Store(time.Now().Add(-test.ago).UnixNano())
		r.next.Store(time.Now().Add(time.Hour).UnixNano()) // another caller checks
		if got := r.Fresh(t.Context()); got != test.want {
			t.Errorf("seen %v ago: fresh is %v", test.ago, got)
		}
	}
}

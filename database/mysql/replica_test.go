package mysql

import (
	"testing"
	"time"
)

// Without look-ups nobody looks at the lag. The first of several that then come at once looks; the
// others must not believe what was seen long ago.
func TestReplica_isNotFreshWhenSeenLongAgo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ago  time.Duration
		want bool
	}{{time.Second, true}, {time.Minute, false}} {
		r := &Replica{}
		r.state.Store(fresh)
		r.seen.Store(time.Now().Add(-test.ago).UnixNano())
		r.next.Store(time.Now().Add(time.Hour).UnixNano()) // somebody else looks
		if got := r.Fresh(t.Context()); got != test.want {
			t.Errorf("seen %v ago: fresh is %v", test.ago, got)
		}
	}
}

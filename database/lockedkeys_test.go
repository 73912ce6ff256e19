package database

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// takenAt returns a memory of taken keys, and what moves its clock on.
func takenAt() (taken *LockedKeys, pass func(time.Duration)) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	return &LockedKeys{now: func() time.Time { return now }}, func(d time.Duration) { now = now.Add(d) }
}

func splits(t *testing.T, taken *LockedKeys, keys, wait, ask []string) {
	t.Helper()
	gotWait, gotAsk := taken.Split(keys)
	if diff := cmp.Diff([][]string{wait, ask}, [][]string{gotWait, gotAsk}); diff != "" {
		t.Errorf("keys to wait for and keys to ask for (-want +got):\n%s", diff)
	}
}

func TestLockedKeys_splitsLockedFromFree(t *testing.T) {
	t.Parallel()
	taken, _ := takenAt()
	keys := []string{"d", "a", "c", "b"}
	splits(t, taken, keys, keys, nil)
	taken.Found("a", true)
	taken.Found("b", true)
	taken.Found("c", false)
	splits(t, taken, keys, []string{"d", "c"}, []string{"a", "b"})
	taken.Found("a", false)
	splits(t, taken, keys, []string{"d", "a", "c"}, []string{"b"})
}

func TestLockedKeys_expire(t *testing.T) {
	t.Parallel()
	taken, pass := takenAt()
	taken.Found("a", true)
	pass(lockedFor)
	splits(t, taken, []string{"a"}, nil, []string{"a"})
	taken.Found("a", true) // still: from now on
	pass(lockedFor)
	splits(t, taken, []string{"a"}, nil, []string{"a"})
	pass(1)
	splits(t, taken, []string{"a"}, []string{"a"}, nil)
}

func TestLockedKeys_areBounded(t *testing.T) {
	t.Parallel()
	taken, pass := takenAt()
	for i := range maxLockedKeys {
		taken.Found(fmt.Sprint("k", i), true)
	}
	taken.Found("one more", true)
	splits(t, taken, []string{"one more"}, []string{"one more"}, nil)

	pass(lockedFor)
	taken.Found("k0", true) // which it knows
	pass(1)
	splits(t, taken, []string{"k0"}, nil, []string{"k0"})
	taken.Found("one more", true) // all the others are forgotten, though nobody asked for them
	splits(t, taken, []string{"one more", "k1"}, []string{"k1"}, []string{"one more"})
	if got := len(taken.keys); got != 2 {
		t.Errorf("%d keys are remembered, want 2", got)
	}
}

func TestLockedKeys_zeroValueIsReady(t *testing.T) {
	t.Parallel()
	var taken LockedKeys
	taken.Found("a", false)
	taken.Found("b", true)
	splits(t, &taken, []string{"a", "b"}, []string{"a"}, []string{"b"})
}

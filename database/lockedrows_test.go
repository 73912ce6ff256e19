package database

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func splits(t *testing.T, locked *LockedRows, keys, waitable, suspects []string) {
	t.Helper()
	gotWaitable, gotSuspects := locked.Split(keys)
	if diff := cmp.Diff([][]string{waitable, suspects}, [][]string{gotWaitable, gotSuspects}); diff != "" {
		t.Errorf("keys to wait for and suspects (-want +got):\n%s", diff)
	}
}

func TestLockedRows_splitsLockedFromFree(t *testing.T) {
	t.Parallel()
	var locked LockedRows // its zero value is ready
	keys := []string{"d", "a", "c", "b"}
	splits(t, &locked, keys, keys, nil)
	locked.Found("c", false)
	locked.Found("a", true)
	locked.Found("b", true)
	splits(t, &locked, keys, []string{"d", "c"}, []string{"a", "b"})
	locked.Found("a", false)
	splits(t, &locked, keys, []string{"d", "a", "c"}, []string{"b"})
}

func TestLockedRows_expire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var locked LockedRows
		locked.Found("a", true)
		<-time.After(lockedFor)
		splits(t, &locked, []string{"a"}, nil, []string{"a"})
		locked.Found("a", true) // again: from now on
		<-time.After(lockedFor)
		splits(t, &locked, []string{"a"}, nil, []string{"a"})
		<-time.After(1)
		splits(t, &locked, []string{"a"}, []string{"a"}, nil)
	})
}

func TestLockedRows_areBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var locked LockedRows
		for i := range maxLockedRows {
			locked.Found(fmt.Sprint("k", i), true)
		}
		locked.Found("one more", true)
		splits(t, &locked, []string{"one more"}, []string{"one more"}, nil)

		<-time.After(lockedFor)
		locked.Found("k0", true) // which it knows
		<-time.After(1)
		splits(t, &locked, []string{"k0"}, nil, []string{"k0"})
		locked.Found("one more", true) // all the others have expired
		splits(t, &locked, []string{"one more", "k1"}, []string{"k1"}, []string{"one more"})
		if got := len(locked.keys); got != 2 {
			t.Errorf("%d keys are remembered, want 2", got)
		}
	})
}

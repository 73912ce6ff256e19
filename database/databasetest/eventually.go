package databasetest

import "time"

// pollInterval is the interval at which Eventually checks.
const pollInterval = 5 * time.Millisecond

// A fataler is a testing.TB, or what a package's tests put around one.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Eventually waits until check, which nothing signals, is true, and returns how long that took. It
// fails the test when that exceeds within.
func Eventually(t fataler, within time.Duration, what string, check func() bool) time.Duration {
	t.Helper()
	started := time.Now()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !check() {
		if time.Since(started) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
		<-ticker.C
	}
	return time.Since(started)
}

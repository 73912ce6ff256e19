package commands

import (
	"testing"
	"time"
)

func TestCheckoutsList_unknownStateIsRefused(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{
		"":          "",
		"open":      "",
		"committed": "",
		"Open":      `--state is "Open": expected one of reserved, refunding, committed, rolled_back, cancelling, cancelled, open`,
	} {
		got := ""
		if err := (&checkoutsListCommand{State: state}).Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", state, got, want)
		}
	}
}

func TestParseAge_takesDays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"7d": 168 * time.Hour, "30m": 30 * time.Minute, "d": -1, "-1d": -1, "": -1, "7": -1} {
		if got, err := parseAge(text); (err == nil) != (want >= 0) || err == nil && got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

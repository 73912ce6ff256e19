package commands

import "testing"

func TestCheckoutsList_unknownStateIsRefused(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{
		"":          "",
		"open":      "",
		"committed": "",
		"Open":      `--state is "Open": expected one of reserved, refunding, committed, rolled_back, open`,
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

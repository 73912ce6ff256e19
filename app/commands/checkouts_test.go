package commands

import (
	"testing"
	"time"
)

func TestAge_mayBeInDays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"7d": 168 * time.Hour, "30m": 30 * time.Minute, "0d": 0, "d": 0, "-1d": 0, "-1h": 0, "": 0, "7": 0,
	} {
		var got age
		if err := got.UnmarshalText([]byte(text)); (err == nil) != (want > 0) || time.Duration(got) != want {
			t.Errorf("%q: got %v, error %v, want %v", text, time.Duration(got), err, want)
		}
	}
}

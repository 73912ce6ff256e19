package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWarnLimiter_logsTheSameWarningOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written bytes.Buffer
		log := slog.New(&warnLimiter{Handler: slog.NewTextHandler(&written, nil), messages: map[string]suppressed{}})
		for range 20 {
			log.Warn("the gateway is away", "checkout", "1")
		}
		log.Warn("another warning")
		if lines := strings.Count(written.String(), "\n"); lines != 2 {
			t.Errorf("got %d lines for 20 equal warnings and another one, want 2:\n%s", lines, &written)
		}
		<-time.After(warnInterval)
		log.Warn("the gateway is away", "checkout", "2")
		if !strings.Contains(written.String(), "checkout=2 suppressed=19") {
			t.Errorf("want the suppressed warnings counted, got\n%s", &written)
		}
		log.Error("a fault")
		log.Error("a fault")
		if lines := strings.Count(written.String(), "\n"); lines != 5 {
			t.Errorf("got %d lines, want one for each error:\n%s", lines, &written)
		}
	})
}

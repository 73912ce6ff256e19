package api

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"cartwheel/database"
	"cartwheel/queue"
)

func TestFailureLog_logsRefusalsOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &logbook{}
		faults := &failureLog{log: slog.New(slog.NewJSONHandler(log, nil))}
		c := echo.New().NewContext(httptest.NewRequest(http.MethodPost, "/addToCart", nil), httptest.NewRecorder())

		for range 20 {
			faults.write(c, 503, queue.ErrFull)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 1 {
			t.Errorf("got %d lines for 20 refusals at once, want 1", lines)
		}
		<-time.After(refusalLogInterval)
		faults.write(c, 503, queue.ErrFull)
		if !strings.Contains(log.String(), `"suppressed":19`) {
			t.Errorf("want the refusals between counted, got %s", log)
		}
		faults.write(c, 504, database.ErrOutcomeUnknown)
		faults.write(c, 504, database.ErrOutcomeUnknown)
		if lines := strings.Count(log.String(), "\n"); lines != 4 {
			t.Errorf("got %d lines, want one for each unknown outcome", lines)
		}
	})
}

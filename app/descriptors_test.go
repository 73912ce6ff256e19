package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"cartwheel/app/api"
)

func TestDescriptorLimits_followTheLimitOfOpenFiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		available          uint64
		connections, calls int
		warned             bool
	}{
		{1 << 20, api.MaxConnections, 4096, false},
		{1024, 618, 309, true},
		{120, 16, 8, true},
	} {
		var log bytes.Buffer
		connections, calls, err := descriptorLimits(test.available, 4096, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil || connections != test.connections || calls != test.calls {
			t.Errorf("%d open files: %d connections, %d calls, %v; want %d and %d",
				test.available, connections, calls, err, test.connections, test.calls)
		}
		if uint64(connections+calls+reservedDescriptors) > test.available {
			t.Errorf("%d open files: %d and %d leave less than the reserve", test.available, connections, calls)
		}
		if warned := strings.Contains(log.String(), "WARN"); warned != test.warned {
			t.Errorf("%d open files: warned: %v", test.available, warned)
		}
	}
	if _, _, err := descriptorLimits(100, 4096, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("100 open files: %v, want an error that names the limit", err)
	}
}

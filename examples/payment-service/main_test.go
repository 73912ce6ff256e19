package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines hands each line that is logged to a channel.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(bytes.TrimSpace(p))
	return len(p), nil
}

func TestPaymentService_servesUntilStoppedAndRemembers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "payments.log")
	for _, want := range []string{"payments=0", "payments=1"} {
		ctx, stop := context.WithCancel(t.Context())
		output := make(lines, 10)
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, settings{Listen: "127.0.0.1:0", File: path}, output) }()
		ready := <-output
		if !strings.Contains(ready, want) {
			t.Errorf("first line %q, want %q in it", ready, want)
		}
		url := regexp.MustCompile(`http://[0-9.:]+`).FindString(ready)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url+"/payments/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{}}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		client.CloseIdleConnections()
		if got := strings.TrimSpace(string(body)); got != `{"status":"voided"}` {
			t.Errorf("DELETE = %s", got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run = %v", err)
		}
	}
}

func TestPaymentService_startErrorNamesTheCause(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "payments.log")
	if err := run(t.Context(), settings{Listen: "127.0.0.1:bad", File: path}, io.Discard); err == nil {
		t.Error("it started on a port that does not exist")
	}
	path = filepath.Join(path, "x")
	if err := run(t.Context(), settings{Listen: "127.0.0.1:0", File: path}, io.Discard); err == nil {
		t.Error("it started without a folder for its file")
	}
}

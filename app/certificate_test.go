package app

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cartwheel/app/certificatetest"
)

func TestCertificate_isReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	c := &certificate{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"), log: slog.New(slog.NewTextHandler(&log, nil))}
	if _, err := c.get(nil); err == nil || !strings.Contains(err.Error(), "--tls-cert, --tls-key (TLS_CERT, TLS_KEY): open") {
		t.Errorf("without files: %v", err)
	}
	number := func() int64 { // past the age
		t.Helper()
		c.read = time.Time{}
		got, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return got.Leaf.SerialNumber.Int64()
	}
	certificatetest.Write(t, c.certFile, c.keyFile, 1)
	if got := number(); got != 1 {
		t.Errorf("got certificate %d, want 1", got)
	}
	certificatetest.Write(t, c.certFile, c.keyFile, 2)
	if got := number(); got != 2 {
		t.Errorf("got certificate %d, want 2", got)
	}
	// A certificate whose key is not there yet.
	certificatetest.Write(t, c.certFile, filepath.Join(dir, "other.pem"), 3)
	if got := number(); got != 2 || !strings.Contains(log.String(), "could not be read again") {
		t.Errorf("got certificate %d, want 2 and a warning in %s", got, &log)
	}
	certificatetest.Write(t, c.certFile, c.keyFile, 4)
	if got, err := c.get(nil); err != nil || got.Leaf.SerialNumber.Int64() != 2 {
		t.Errorf("got certificate %v, %v: the files are read for each connection", got, err)
	}
}

package app

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// A stalledReader is a pipe that nobody reads.
type stalledReader struct{ release chan struct{} }

func (r stalledReader) Write(p []byte) (int, error) {
	<-r.release
	return len(p), nil
}

func TestLog_stalledReaderNeverBlocks(t *testing.T) {
	t.Parallel()
	pipe := stalledReader{make(chan struct{})}
	log, writer := newLog("json", pipe)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 * maxLogRecords {
			log.Info("a record", "text", strings.Repeat("x", 100))
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a log call blocks")
	}
	if writer.dropped.Load() == 0 {
		t.Error("no record is counted as dropped")
	}
	if waiting := writer.waiting.Load(); waiting > maxLogBytes {
		t.Errorf("%d bytes wait, want %d at most", waiting, maxLogBytes)
	}
	writer.close() // returns in spite of the reader
	close(pipe.release)
	<-writer.done
}

func TestLog_readerThatHasGoneIsSurvived(t *testing.T) {
	t.Parallel()
	read, write := io.Pipe()
	_ = read.Close()
	log, writer := newLog("json", write)
	log.Info("nobody reads this")
	writer.close()
	if writer.dropped.Load() != 1 {
		t.Errorf("%d records are counted as dropped, want 1", writer.dropped.Load())
	}
}

func TestLog_closeWritesWhatWaits(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, writer := newLog("json", &out)
	for range 100 {
		log.Info("a record", "took", 1500*time.Millisecond)
	}
	writer.close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var record struct{ Took string }
	if err := json.Unmarshal([]byte(lines[0]), &record); err != nil || len(lines) != 100 || record.Took != "1.5s" {
		t.Errorf("%d lines, the first with a duration of %q: %v", len(lines), record.Took, err)
	}
}

package app

import (
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"cartwheel/app/commands"
)

const (
	// maxLogBytes is the maximum size of records that wait to be written. Beyond it they are
	// dropped.
	maxLogBytes = 1 << 20
	// maxLogRecords is the maximum number of records that wait to be written.
	maxLogRecords = 4096
	// logCloseTimeout is the maximum time that close waits for a reader of the log.
	logCloseTimeout = time.Second
)

// An asyncWriter writes log records in a goroutine of its own: a reader that stalls or has gone
// never blocks the server. Records that find no room are dropped and counted.
type asyncWriter struct {
	out     io.Writer
	records chan []byte
	stop    chan struct{}
	done    chan struct{}
	waiting atomic.Int64 // bytes in records
	dropped atomic.Int64 // records since the start
}

// newLog returns the server's log, text for a terminal and JSON for programs, and its writer, to be
// closed.
func newLog(format string, out io.Writer) (*slog.Logger, *asyncWriter) {
	w := &asyncWriter{
		out: out, records: make(chan []byte, maxLogRecords), stop: make(chan struct{}), done: make(chan struct{}),
	}
	var handler slog.Handler = slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: readableDurations})
	if format == "text" || (format == "auto" && commands.IsTerminal(out)) {
		handler = slog.NewTextHandler(w, nil)
	}
	log := slog.New(&warnLimiter{Handler: handler, messages: map[string]suppressed{}})
	go w.run(log)
	return log, w
}

// readableDurations writes durations as in 1.5s; JSON would have nanoseconds without a unit.
func readableDurations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// Write never blocks and never fails.
func (w *asyncWriter) Write(record []byte) (int, error) {
	size := int64(len(record))
	if w.waiting.Add(size) > maxLogBytes {
		w.drop(size)
		return len(record), nil
	}
	select {
	case w.records <- append([]byte(nil), record...):
	default:
		w.drop(size)
	}
	return len(record), nil
}

func (w *asyncWriter) drop(size int64) {
	w.waiting.Add(-size)
	w.dropped.Add(1)
}

func (w *asyncWriter) run(log *slog.Logger) {
	defer close(w.done)
	var reported int64
	var failing bool // the last write failed
	for {
		select {
		case record := <-w.records:
			failing = !w.write(record)
		case <-w.stop:
			for len(w.records) > 0 {
				w.write(<-w.records)
			}
			return
		}
		if dropped := w.dropped.Load(); dropped > reported && len(w.records) == 0 && !failing {
			// Not a warning: the handler suppresses some of those.
			log.Error("log records were dropped: the reader of the log was too slow", "records", dropped-reported)
			reported = dropped
		}
	}
}

// write reports whether the record was written.
func (w *asyncWriter) write(record []byte) bool {
	_, err := w.out.Write(record)
	w.waiting.Add(-int64(len(record)))
	if err != nil {
		w.dropped.Add(1)
	}
	return err == nil
}

// close writes the waiting records, for logCloseTimeout at most. Later records are dropped.
func (w *asyncWriter) close() {
	close(w.stop)
	select {
	case <-w.done:
	case <-time.After(logCloseTimeout): // nobody reads the log
	}
}

package app

import (
	"io"
	"log/slog"
)

// newLog returns the server's log: text for people at a terminal, JSON for programs.
func newLog(format string, w io.Writer) *slog.Logger {
	if format == "text" || (format == "auto" && isTerminal(w)) {
		return slog.New(slog.NewTextHandler(w, nil))
	}
	return slog.New(slog.NewJSONHandler(w, nil))
}

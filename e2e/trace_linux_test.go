package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A call is a system call of a trace: its name, its arguments as text, what it returned, and its
// numbers.
type call struct {
	name, args, returned string
	begin, end           int
}

var (
	wholeCall   = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (.*)$`)
	callBegins  = regexp.MustCompile(`^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$`)
	callEnds    = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)\) += (.*)$`)
	descriptor  = regexp.MustCompile(`^(?:\d+|AT_FDCWD)<([^>]*)>`)
	quoted      = regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"`)
	lastNumber  = regexp.MustCompile(`, (\d+)$`)
	requestID   = regexp.MustCompile(`(?i)X-Request-Id: (addToCart|checkOutCart)-(\d+)-\d+\r\n`)
	notSelected = regexp.MustCompile(`^\d+ +(---|\+\+\+) `)
)

// unhex decodes what strace -xx writes.
func unhex(t *testing.T, text string) []byte {
	t.Helper()
	decoded, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		t.Fatalf("the trace has a string that is no string: %v", err)
	}
	return decoded
}

// data is all that a call's arguments quote.
func (c call) data(t *testing.T) []byte {
	t.Helper()
	var all []byte
	for _, part := range quoted.FindAllStringSubmatch(c.args, -1) {
		all = append(all, unhex(t, part[1])...)
	}
	return all
}

// readHistory reads what strace wrote: only what happened to the files in dir, and answers of
// Success. What changes those files in a way that the history does not know fails the test.
func readHistory(t *testing.T, trace, dir string, base map[string][]byte) *history {
	t.Helper()
	file, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}()
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // as the trace names it
		t.Fatal(err)
	}
	h := &history{dir: dir, base: base, created: map[string]int{}, flushes: map[string][]flushing{}}
	begun := map[string]call{} // by thread
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		h.calls++
		line := lines.Text()
		switch {
		case notSelected.MatchString(line):
		case callBegins.MatchString(line):
			m := callBegins.FindStringSubmatch(line)
			c := call{name: m[2], args: m[3], begin: h.calls, end: -1}
			begun[m[1]] = c
			h.noteAnswer(t, c)
		case callEnds.MatchString(line):
			m := callEnds.FindStringSubmatch(line)
			c := begun[m[1]]
			c.args, c.returned, c.end = c.args+m[2], m[3], h.calls
			delete(begun, m[1])
			h.note(t, c)
		case wholeCall.MatchString(line):
			m := wholeCall.FindStringSubmatch(line)
			c := call{m[2], m[3], m[4], h.calls, h.calls}
			h.noteAnswer(t, c)
			h.note(t, c)
		default:
			t.Fatalf("the trace has a line that is no call: %.200s", line)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, flushes := range h.flushes {
		slices.SortFunc(flushes, func(a, b flushing) int { return cmp.Compare(a.begin, b.begin) })
		for i := len(flushes) - 2; i >= 0; i-- {
			flushes[i].ends = min(flushes[i].ends, flushes[i+1].ends)
		}
	}
	return h
}

// noteAnswer takes an answer of Success, when its sending begins.
func (h *history) noteAnswer(t *testing.T, c call) {
	t.Helper()
	switch c.name {
	case "write", "writev", "sendto", "sendmsg", "sendmmsg":
	default:
		return
	}
	text := c.data(t)
	if !bytes.Contains(text, []byte(`{"status":"Success"`)) {
		return
	}
	for _, id := range requestID.FindAllSubmatch(text, -1) {
		h.answers = append(h.answers, answer{c.begin, string(id[1]), string(id[2])})
	}
}

// note takes what a call that has ended did to the files. One that returned "?" did not end: the
// kill came first.
func (h *history) note(t *testing.T, c call) {
	t.Helper()
	name, ours := h.fileOf(t, c)
	if !ours || inMemory(name) || strings.HasPrefix(c.returned, "-1 ") || c.returned == "?" {
		return
	}
	last, _ := strconv.ParseInt(strings.TrimPrefix(lastNumber.FindString(c.args), ", "), 10, 64)
	switch c.name {
	case "open", "openat":
		_, there := h.base[name]
		if _, known := h.created[name]; !there && !known && strings.Contains(c.args, "O_CREAT") {
			h.created[name] = c.end
		}
	case "pwrite64":
		data := c.data(t)
		if returned, err := strconv.Atoi(c.returned); err != nil || returned != len(data) {
			t.Fatalf("%d bytes were to be written, and %s were", len(data), c.returned)
		}
		h.writes = append(h.writes, writing{name, c.begin, c.end, last, data})
	case "ftruncate":
		h.writes = append(h.writes, writing{name, c.begin, c.end, last, nil})
	case "fsync", "fdatasync":
		h.flushes[name] = append(h.flushes[name], flushing{c.begin, c.end})
	default:
		t.Fatalf("%s changes %s: the history does not know that call", c.name, name)
	}
}

// fileOf returns which file of the directory a call is about; the directory itself is ".".
func (h *history) fileOf(t *testing.T, c call) (name string, ours bool) {
	t.Helper()
	of := c.args
	if strings.HasPrefix(c.name, "open") || c.name == "creat" {
		of = c.returned
	}
	m := descriptor.FindStringSubmatch(of)
	paths := []string{}
	if m != nil {
		paths = append(paths, string(unhex(t, m[1])))
	}
	switch c.name { // whose arguments are paths
	case "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "truncate":
		for _, path := range quoted.FindAllStringSubmatch(c.args, -1) {
			paths = append(paths, string(unhex(t, path[1])))
		}
	}
	for _, path := range paths {
		if relative, err := filepath.Rel(h.dir, path); err == nil && !strings.HasPrefix(relative, "..") {
			return relative, true
		}
	}
	return "", false
}

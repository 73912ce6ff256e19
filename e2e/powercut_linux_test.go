package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/database/databasetest"
)

// A power cut leaves on the disk what was flushed, and of the rest any part. strace tells what was
// written, flushed and answered in which order, so that a cut at any moment can be made up
// afterwards: the files as they were at the start, with the writes that a flush had followed by
// then, and with none of the others, or some, or halves of some.
func TestPowerCut_losesNothingAnswered(t *testing.T) {
	t.Parallel()
	strace := findStrace(t)
	const imported = 1_000_000
	s := embeddedStore(t)
	dir := s.config.DataDir
	s.stock(t, map[string]int{"lamp": imported})
	base := readFiles(t, dir)
	trace := filepath.Join(t.TempDir(), "trace")
	// -D: the process that we start is the shop itself, and strace a child of its own.
	shop := launchUnder(t, s, []string{strace, "-D", "-f", "--seccomp-bpf", "-xx", "-y", "-s", "1000000", "-o", trace, "-e", "trace=" + tracedCalls}, "--checkout-lease", "1h")
	shop.await()
	told := shopUnderTrace(t, shop, filepath.Join(dir, embeddedFile))
	shop.kill() // and strace has ended, too: it had the log open

	h := readHistory(t, trace, dir, base)
	if len(h.answers) != told || told == 0 {
		t.Fatalf("the trace has %d answers of Success, and the clients %d", len(h.answers), told)
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 11))
	cuts := []int{h.answers[0].at, h.answers[told-1].at}
	for range shortOrLong(20, 400) { // half of them just when an answer is sent: then the flush before it is all that there is
		cuts = append(cuts, h.answers[random.IntN(told)].at, h.answers[0].at+random.IntN(h.calls-h.answers[0].at))
	}
	for _, w := range h.writes { // and in the middle of moving the log into the file
		if w.file == embeddedFile {
			cuts = append(cuts, w.end+1)
		}
	}
	lost, kept := 0, 0
	for n, cut := range cuts {
		for _, survives := range []struct {
			what  string
			share float64
		}{{"nothing that was not flushed", 0}, {"half of what was not flushed", 0.5}} {
			after := embeddedStore(t)
			l, k := h.cutPower(t, after.config.DataDir, cut, func() bool { return random.Float64() < survives.share })
			lost, kept = lost+l, kept+k
			h.isWhole(t, after, cut, imported)
			if n < 2 {
				recovers(t, after, imported)
			}
			if t.Failed() {
				t.Fatalf("after a power cut at call %d of %d that left %s", cut, h.calls, survives.what)
			}
		}
	}
	if lost == 0 || kept == 0 {
		t.Errorf("the cuts took %d writes away and left %d that were not flushed: they showed nothing", lost, kept)
	}
	t.Logf("%d answers; %d power cuts took %d writes that were not flushed, and left %d of such", told, 2*len(cuts), lost, kept)
}

// tracedCalls are those that change files or flush them, and those that may answer a caller.
const tracedCalls = "open,openat,openat2,creat,unlink,unlinkat,rename,renameat,renameat2,link,linkat,truncate,ftruncate,fallocate,write,writev,pwrite64,pwritev,pwritev2," +
	"sendto,sendmsg,sendmmsg,sendfile,splice,copy_file_range,fsync,fdatasync,msync,sync_file_range,io_uring_enter"

// findStrace returns strace, where it may trace. Elsewhere the test is skipped, or fails where CI
// is set.
func findStrace(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err == nil {
		var out []byte
		if out, err = exec.Command(path, "-f", "--seccomp-bpf", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		databasetest.SkipUnlessCI(t, "there is no strace that may trace: make test installs it: "+err.Error())
	}
	return path
}

// embeddedFile is the embedded engine's. What is written goes to a log beside it, and from there
// into it now and then.
const embeddedFile = "cartwheel.db"

// shopUnderTrace lets clients add, and check out, each one request after another, until the log has
// been moved into the file. It returns how often Success was answered.
func shopUnderTrace(t *testing.T, shop *instance, file string) (told int) {
	t.Helper()
	modified := func() time.Time {
		info, err := os.Stat(file)
		if err != nil {
			t.Error(err)
			return time.Time{}
		}
		return info.ModTime()
	}
	began := modified()
	var successes atomic.Int64
	var all sync.WaitGroup
	least, most := shortOrLong(15, 120), 600
	for client := range 4 { // fewer would never share a transaction, more would write the log too slowly
		all.Go(func() {
			for round := 0; round < least || round < most && modified().Equal(began); round++ {
				for _, r := range []request{addition(itoa(client), "lamp", 1), addition(itoa(client), "lamp", 1), purchase(itoa(client))} {
					if err := askAs(t.Context(), shop, r, fmt.Sprintf("%s-%d-%d", strings.TrimPrefix(r.path, "/"), client, round)); err != nil {
						t.Errorf("%s: %v", r.path, err)
						return
					}
					successes.Add(1)
				}
			}
		})
	}
	all.Wait()
	if modified().Equal(began) {
		t.Error("the log was never moved into the file")
	}
	return int(successes.Load())
}

// askAs sends a request under an ID, which is in the answer's head, and wants Success.
func askAs(ctx context.Context, shop *instance, r request, id string) (err error) {
	body, err := json.Marshal(r.body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, shop.base+r.path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Request-Id", id)
	response, err := shopping.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s", response.Status)
	}
	return errors.Join(err, response.Body.Close())
}

// isWhole wants the database, as the cut left it, to have all that was answered by then, and no
// more than one request of each client besides.
func (h *history) isWhole(t *testing.T, s store, cut, imported int) {
	t.Helper()
	db := databasetest.Open(t, s.config)
	var verdict string
	if err := db.Setup().QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("the file is damaged: %s, %v", verdict, err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	b := s.snapshot(t)
	units, bought := map[string]int{}, map[string]int{}
	for client, lines := range b.carts {
		units[client] += int(lines["lamp"])
	}
	for _, e := range b.checkouts {
		for _, line := range e.Lines {
			units[e.ClientID] += int(line.Quantity)
		}
		if e.State == checkout.Committed {
			bought[e.ClientID]++
		}
	}
	for client, told := range h.toldBy(cut) {
		if n := units[client]; n < told.units || n > told.units+1 {
			t.Errorf("%d units are with client %s, who was told of %d", n, client, told.units)
		}
		if n := bought[client]; n < told.checkouts || n > told.checkouts+1 {
			t.Errorf("client %s bought %d times, and was told of %d", client, n, told.checkouts)
		}
	}
	if got := b.onHand["lamp"] + b.sold()["lamp"]; got != int64(imported) {
		t.Errorf("%d on hand and sold, want %d", got, imported)
	}
}

// recovers starts a shop on what the cut left.
func recovers(t *testing.T, s store, imported int) {
	t.Helper()
	shop := start(t, s)
	eventually(t, soon, "every checkout is settled", func() bool { return s.snapshot(t).open() == 0 })
	shop.want(t, 200, addition("late", "lamp", 1))
	shop.want(t, 200, purchase("late"))
	shop.kill()
	s.snapshot(t).balance(t, map[string]int{"lamp": imported})
	if out, errs, status := run(t, s, nil, "audit"); status != 0 {
		t.Errorf("audit: status %d: %s%s", status, out, errs)
	}
}

// A history is what a traced shop did, in the order of its calls, each of which has a number when
// it begins and one when it ends.
type history struct {
	dir     string
	base    map[string][]byte // the files at the start, by name
	created map[string]int    // files that were not there, and when
	writes  []writing
	flushes map[string][]flushing // by file, in the order in which they began
	answers []answer              // Success
	calls   int
}

// A writing changes a file: it writes data at an offset, or cuts the file there where data is nil.
type writing struct {
	file       string
	begin, end int
	offset     int64
	data       []byte
}

// A flushing is an fsync of a file, or of the directory. By ends, it or one that began after it has
// ended.
type flushing struct{ begin, ends int }

// An answer is Success, sent to a caller.
type answer struct {
	at           int // when its sending began
	path, client string
}

type toldClient struct{ units, checkouts int }

// toldBy is what each client had been told when a call began.
func (h *history) toldBy(cut int) map[string]toldClient {
	told := map[string]toldClient{}
	for _, a := range h.answers {
		c := told[a.client]
		if a.at <= cut {
			if a.path == "checkOutCart" {
				c.checkouts++
			} else {
				c.units++
			}
		}
		told[a.client] = c
	}
	return told
}

// cutPower writes the files as a power cut leaves them when a call begins. Of what was not flushed,
// that remains which survives says, if need be in part. It returns how many such writes were lost
// and kept.
func (h *history) cutPower(t *testing.T, dir string, cut int, survives func() bool) (lost, kept int) {
	t.Helper()
	flushed := func(file string, since int) bool {
		flushes := h.flushes[file]
		next, _ := slices.BinarySearchFunc(flushes, since+1, func(f flushing, begin int) int { return cmp.Compare(f.begin, begin) })
		return next < len(flushes) && flushes[next].ends < cut
	}
	files := map[string][]byte{}
	for name, content := range h.base {
		files[name] = slices.Clone(content)
	}
	for name, since := range h.created {
		if since < cut && (flushed(".", since) || survives()) {
			files[name] = []byte{}
		}
	}
	for _, w := range h.writes {
		content, there := files[w.file]
		if w.begin >= cut || !there {
			continue
		}
		data := w.data
		if !flushed(w.file, w.end) {
			if !survives() {
				lost++
				continue
			}
			kept++
			const sector = 512
			if sectors := len(data) / sector; sectors > 1 && survives() {
				data = data[:sector*(1+rand.IntN(sectors))]
			}
		}
		if w.data == nil {
			files[w.file] = append(content, make([]byte, max(0, w.offset-int64(len(content))))...)[:w.offset]
			continue
		}
		if short := w.offset + int64(len(data)) - int64(len(content)); short > 0 {
			content = append(content, make([]byte, short)...)
		}
		copy(content[w.offset:], data)
		files[w.file] = content
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return lost, kept
}

// inMemory reports whether a file of the database's is made anew by the one who opens it: it tells
// nothing after a power cut.
func inMemory(name string) bool {
	return strings.HasSuffix(name, "-shm") || strings.HasSuffix(name, ".lock")
}

func readFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if inMemory(entry.Name()) {
			continue
		}
		if files[entry.Name()], err = os.ReadFile(filepath.Join(dir, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

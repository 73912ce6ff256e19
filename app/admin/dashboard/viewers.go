package dashboard

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"
)

const (
	// sampleInterval is the interval between two samples, and at which viewers ask for them.
	sampleInterval = time.Second
	// maxHistory is the maximum number of samples that a new viewer gets: an hour.
	maxHistory = 3600
	// viewerTimeout is the time after a viewer's last question from which on nobody watches.
	viewerTimeout = 3 * time.Second
)

// An update has the samples and parts that a viewer's page lacks.
type update struct {
	Version string            `json:"version"`
	Samples []sample          `json:"samples"` // oldest first
	HTML    map[string]string `json:"html"`    // the parts of the page, by the ID of their element; nil: none are new
}

// update sends the samples after the time that the viewer names, its last one's, and the parts of
// the page as of the last sample.
func (d *Dashboard) update(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.ParseFloat(r.FormValue("after"), 64) // without one: all
	d.mu.Lock()
	d.asked = time.Now()
	first := sort.Search(len(d.history), func(i int) bool { return d.history[i].At > after })
	u := update{d.about.Version, slices.Clone(d.history[first:]), d.rendered}
	d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(u) // fails when the browser has left
}

// watched reports whether there are viewers.
func (d *Dashboard) watched() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.asked) < viewerTimeout
}

// collect records a sample in each interval. For viewers it renders the parts of the page, once for
// all of them.
func (d *Dashboard) collect(ctx context.Context) {
	before := d.readTotals(d.metrics.Levels())
	for nextInterval(ctx) {
		levels := d.metrics.Levels()
		now := d.readTotals(levels)
		s := sampleBetween(before, now, levels)
		before = now
		var rendered map[string]string
		if d.watched() {
			rendered = d.parts(s, levels)
		}
		d.record(s, rendered)
	}
}

// record adds the sample to the history.
func (d *Dashboard) record(s sample, rendered map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.history = append(d.history[max(0, len(d.history)+1-maxHistory):], s)
	d.rendered = rendered
}

// refresh keeps the caches fresh for viewers, apart from the collector: a slow database must not
// delay samples.
func (d *Dashboard) refresh(ctx context.Context) {
	for nextInterval(ctx) {
		if d.watched() {
			d.read(ctx)
		}
	}
}

// nextInterval waits until the next sample is due. It returns false when ctx has ended.
func nextInterval(ctx context.Context) bool {
	select {
	case <-time.After(time.Until(time.Now().Truncate(sampleInterval).Add(sampleInterval))):
		return true
	case <-ctx.Done():
		return false
	}
}

// read refreshes the expired caches. It blocks until all are read.
func (d *Dashboard) read(ctx context.Context) {
	var reads sync.WaitGroup
	for _, read := range []func(context.Context){d.open.refresh, d.recent.refresh, d.stock.refresh, d.checkReady} {
		reads.Go(func() { read(ctx) })
	}
	reads.Wait()
}

func (d *Dashboard) checkReady(ctx context.Context) {
	var reason *string
	if err := d.ready(ctx); err != nil {
		reason = new(err.Error())
	}
	d.notReady.Store(reason)
}
